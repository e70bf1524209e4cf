"""Account operations and views, shared by the command line and the admin API."""

from service.accounts.service import AccountError, AccountService, NewAccountRequest
from service.accounts.views import AccountView

__all__ = ["AccountError", "AccountService", "AccountView", "NewAccountRequest"]
