"""Reading results without a JVM: for the memo, the command line, notebooks and pages."""
