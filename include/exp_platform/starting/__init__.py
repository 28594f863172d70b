"""From data to a first result: a starter spec of what lies there (`exp init`), and what a run would read (`exp preview`)."""
