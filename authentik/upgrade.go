package authentik

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ReleaseOrder is the order in which releases have to be gone through: an upgrade may skip
// none (authentik's documentation, "Upgrade authentik").
func ReleaseOrder() []string {
	return []string{"2025.2", "2025.4", "2025.6", "2025.8", "2025.10", "2025.12", "2026.2", "2026.5", "2026.8"}
}

// UpgradeFault says why a database that was last migrated by one version should not be
// given to another, empty where nothing is known against it. Versions are such as "2026.2.2";
// what is no version says nothing.
func UpgradeFault(from, to string) string {
	before, ok := numbers(from)
	after, known := numbers(to)
	if !ok || !known {
		return ""
	}
	if slices.Compare(after, before) < 0 {
		return fmt.Sprintf("the database was migrated by authentik %s, and this is %s: authentik supports no downgrade", from, to)
	}
	var skipped []string
	for _, release := range ReleaseOrder() {
		between, _ := numbers(release)
		if slices.Compare(before[:2], between[:2]) < 0 && slices.Compare(between[:2], after[:2]) < 0 {
			skipped = append(skipped, release)
		}
	}
	if len(skipped) == 0 {
		return ""
	}
	return fmt.Sprintf("the database was migrated by authentik %s, and this is %s: authentik supports no upgrade that skips a release, here %s",
		from, to, strings.Join(skipped, ", "))
}

// numbers are a version's year, month and patch, the last 0 where there is none; what stands
// behind them, as in "2026.2.0-rc1", is left out.
func numbers(version string) ([]int, bool) {
	version, _, _ = strings.Cut(version, "-")
	parts := strings.SplitN(version, ".", 4)
	if len(parts) < 2 {
		return nil, false
	}
	all := make([]int, 3)
	for i, part := range parts[:min(3, len(parts))] {
		n, err := strconv.Atoi(leading(part))
		if err != nil {
			return nil, false
		}
		all[i] = n
	}
	return all, true
}

// leading are the digits that a text begins with, as in "0rc1".
func leading(text string) string {
	if i := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		return text[:i]
	}
	return text
}
