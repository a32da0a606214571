package authentik

import "path"

// UserSettings is a Python module that is loaded into Django's settings where it is there: it
// may change any of them. It is imported as data.user_settings, and only ImportError is passed
// over (authentik/root/settings.py, _update_settings, 2025.2.4 to 2026.2.2).
func UserSettings(l Layout) string { return path.Join(l.Root, "data/user_settings.py") }
