"""Who may see and who may decide: accounts, sign-in, and the check of every request."""
