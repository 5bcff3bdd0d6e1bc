"""Settings of the server; Jupyter reads this file at its start and gives it the variable `c`."""

from pathlib import Path

from jupyter_server.auth import passwd
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

c = get_config()  # noqa: F821 - Jupyter's own
c.ServerApp.ip = "0.0.0.0"  # noqa: S104 - the container's network alone
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/home/jupyter"
# Behind a proxy, which tells who asks and how.
c.ServerApp.trust_xheaders = True
c.PasswordIdentityProvider.hashed_password = passwd(Path("/run/secrets/password").read_text())
c.PasswordIdentityProvider.password_required = True
# The deployment sets it.
c.PasswordIdentityProvider.allow_password_change = False
c.IdentityProvider.token = ""
# The network has no way out of the machine.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
# An idle kernel holds its rows in memory; one that is forgotten ends after a day.
c.MappingKernelManager.cull_idle_timeout = 24 * 3600
c.MappingKernelManager.cull_connected = True


class KernelConnection(ZMQChannelsWebsocketConnection):
    """A browser's connection to a kernel, which knows to its end what protocol was agreed on.

    Jupyter Server asks the WebSocket for it at each message, and that no longer knows once another
    connection has taken its place, as when a kernel is started again. A message that is still on
    its way is then read as one of the older protocol, in which its first bytes are a number in the
    millions, and making room for so many parts ends the server (seen with 2.21.1).
    """

    agreed = None

    def connect(self):
        """Begin to pass on messages, as soon as the WebSocket is open."""
        self.agreed = super().subprotocol
        return super().connect()

    @property
    def subprotocol(self):
        """Name of the protocol, None for the older one."""
        return self.agreed


c.ServerApp.kernel_websocket_connection_class = KernelConnection
