"""What people see of the accounts and do with them: one set of operations for the command line and the admin API."""

from service.accounts.service import AccountError, AccountService, NewAccountRequest
from service.accounts.views import AccountView

__all__ = ["AccountError", "AccountService", "AccountView", "NewAccountRequest"]
