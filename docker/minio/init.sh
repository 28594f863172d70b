#!/bin/sh
# The buckets, and the platform's own account: it works in these buckets and may do nothing else. Safe to repeat.
# Keys are said to `mc` on its standard input: what is an argument shows in every list of processes.
set -eu
export MC_CONFIG_DIR=/tmp/mc

secret() { cat "/run/secrets/$1"; echo; }
of_account() { sed -n "s/^$1 = //p" /run/secrets/aws_credentials; }

{ secret minio_root_user; secret minio_root_password; } | mc --quiet alias set local http://minio:9000 >/dev/null
for bucket in raw warehouse memos logs; do
    mc mb --ignore-existing "local/$bucket"
done
mc admin policy create local exp-platform /opt/minio/policy.json
account=$(of_account aws_access_key_id)
{ of_account aws_access_key_id; of_account aws_secret_access_key; } | mc admin user add local >/dev/null
# To attach it twice is an error.
mc admin user info local "$account" --json | grep -q '"policyName": *"exp-platform"' \
    || mc admin policy attach local exp-platform --user "$account"
