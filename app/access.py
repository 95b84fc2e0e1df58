"""Settings -> how channel, master and viewer prove who they are."""

from app.settings import Settings, SettingsError
from channels.access import Access, CertificateFileError
from channels.auth.sigv4 import Credentials


def access_of(settings: Settings) -> Access:
    """Return the access that the settings give: keys that sign, or else the token.

    Raises: SettingsError when CA_FILE is of no use.
    """
    credentials = None
    if settings.access_key_id:
        credentials = Credentials(settings.access_key_id, settings.secret_access_key, settings.session_token)
    access = Access(settings.token, credentials, settings.region, settings.ca_file)
    try:
        if settings.ca_file:
            access.tls()
    except CertificateFileError as error:
        raise SettingsError(f"CA_FILE: {error}") from None
    return access
