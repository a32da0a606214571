package authentik

// settings2026 are the settings of 2026.2 beside its default.yml: authentik/lib/config.py and
// what asks it, internal/config/struct.go, the documentation's page on configuration,
// compose.yml.
func settings2026() []string {
	return []string{
		"secret_key", "env", "skip_migrations", "image", "tag", "host", "host_browser", "token", "insecure",
		"bootstrap_password", "bootstrap_token", "bootstrap_email",
		"postgresql.sslrootcert", "postgresql.sslcert", "postgresql.sslkey", "postgresql.conn_max_age",
		"postgresql.conn_health_checks", "postgresql.disable_server_side_cursors", "postgresql.conn_options",
		"postgresql.replica_conn_options", "postgresql.pool_options", "postgresql.read_replicas.",
		"web.workers", "web.max_requests", "web.max_requests_jitter", "web.timeout_http_read_header",
		"web.timeout_http_read", "web.timeout_http_write", "web.timeout_http_idle",
		"storage.s3.", "storage.media.", "storage.reports.", "storage.file.url_expiry",
		"error_reporting.extra_args", "email.use_ssl", "pyroscope_host",
		// Since 2023 in the database, and harmless.
		"avatars", "default_token_duration", "default_token_length", "default_user_change_email",
		"default_user_change_name", "default_user_change_username", "footer_links", "gdpr_compliance", "impersonation",
	}
}

// renamed2026 are what 2026.2 knows by another name, or not any more.
func renamed2026() []Rename {
	return []Rename{
		// DEPRECATIONS in authentik/lib/config.py.
		{From: "geoip", To: "events.context_processors.geoip", Works: true},
		{From: "worker.concurrency", To: "worker.threads", Works: true},
		// django_db_config in the same file, and the documentation.
		{From: "postgresql.use_pgbouncer", To: "postgresql.conn_max_age", Works: true},
		{From: "postgresql.use_pgpool", To: "postgresql.disable_server_side_cursors", Works: true},
		// default.yml until 2025.8.3.
		{From: "listen.listen_http", To: "listen.http"},
		{From: "listen.listen_https", To: "listen.https"},
		{From: "listen.listen_metrics", To: "listen.metrics"},
		{From: "listen.listen_debug", To: "listen.debug"},
		{From: "listen.listen_debug_py", To: "listen.debug_py"},
		// Redis went with 2025.10.
		{From: "redis."}, {From: "broker."}, {From: "result_backend."}, {From: "session_storage"}, {From: "cache.url"},
		// These never were any; they are how other software calls it.
		{From: "postgresql.username", To: "postgresql.user"},
		{From: "postgresql.database", To: "postgresql.name"},
		{From: "postgresql.db", To: "postgresql.name"},
		{From: "postgresql.dbname", To: "postgresql.name"},
		{From: "postgresql.pass", To: "postgresql.password"},
		{From: "postgresql.ssl_mode", To: "postgresql.sslmode"},
		{From: "email.user", To: "email.username"},
	}
}
