package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// healthcheck plays "authentik healthcheck MODE" (cmd/server/healthcheck.go): 0 is
// healthy, 1 is everything else, a missing or unknown mode too.
func healthcheck(args []string) int {
	mode := ""
	if len(args) > 0 {
		mode = args[0]
	}
	var err error
	switch strings.ToLower(mode) {
	case "server":
		return checkServer()
	case "worker":
		err = checkWorker()
	case "":
		return 1
	default:
		logLine("warning", loggerRoot, "Invalid mode", nil)
		return 1
	}
	if err != nil {
		logLine("warning", loggerRoot, "failed to check worker", err)
		return 1
	}
	return 0
}

// checkServer has no time limit, like the real one.
func checkServer() int {
	response, err := http.Head("http://" + listenHTTP() + webPath() + "-/health/live/")
	if err != nil {
		logLine("warning", loggerRoot, "failed to send healthcheck request", err)
		return 1
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		logLine("warning", loggerRoot, "unhealthy status code", nil)
		return 1
	}
	return 0
}

// checkWorker reads the pid file and sends signal 0, from 2025.10.2 on; that it may
// not send one (EPERM) is a failure.
func checkWorker() error {
	text, err := os.ReadFile(filepath.Join(os.TempDir(), "authentik-worker.pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return process.Signal(syscall.Signal(0))
}
