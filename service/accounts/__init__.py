"""What people see of the accounts and do with them: one set of operations for the command line and the admin API."""

from service.accounts.operations import AccountError, Accounts, Adding
from service.accounts.rows import Row

__all__ = ["AccountError", "Accounts", "Adding", "Row"]
