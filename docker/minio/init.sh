#!/bin/sh
# The buckets, and the platform's own account: it works in these buckets and may do nothing else. Safe to repeat.
set -eu
export MC_HOST_local="http://$MINIO_ROOT_USER:$MINIO_ROOT_PASSWORD@minio:9000"

for bucket in raw warehouse memos logs; do
    mc mb --ignore-existing "local/$bucket"
done
mc admin policy create local exp-platform /opt/minio/policy.json
mc admin user add local "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
# To attach it twice is an error.
mc admin user info local "$AWS_ACCESS_KEY_ID" --json | grep -q '"policyName": *"exp-platform"' \
    || mc admin policy attach local exp-platform --user "$AWS_ACCESS_KEY_ID"
