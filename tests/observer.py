"""An observer that ignores everything."""


class NullObserver:
    """Implements the observer protocol and does nothing."""

    def upstream_request(self, transport):
        """Ignore a request."""

    def upstream_error(self, transport, kind):
        """Ignore an error."""

    def retry_decided(self, transport, decision):
        """Ignore a retry decision."""

    def retried(self, transport):
        """Ignore a retry."""

    def rerouted(self, transport, tier, kind):
        """Ignore a request that the next hop gets."""

    def leased(self, transport, change):
        """Ignore a lease."""

    def waiting(self, transport, change):
        """Ignore a wait."""

    def waited(self, transport, seconds):
        """Ignore a wait's end."""

    def rotated(self, transport, account, outcome):
        """Ignore a rotation."""

    def changed(self, change):
        """Ignore a change."""

    def throttled(self, transport):
        """Ignore a request that was held back."""

    def answered(self, served):
        """Ignore which model answered."""

    def model_mismatched(self, transport, asked, answered):
        """Ignore a model of another family."""

    def context_cache(self, transport, outcome):
        """Ignore a cache."""

    def account_stats(self, stats):
        """Ignore how accounts stand."""
