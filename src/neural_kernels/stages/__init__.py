"""What the rules of the workflow run, a file a group of rules, named as the rules are."""
