package supervise

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// mapped is how much of this program's own file is mapped and there, in KiB.
func mapped(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "RssFile:"); ok {
			kib, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Skip("the kernel does not tell RssFile (before Linux 4.5)")
	return 0
}

func TestLetGoUnmapsWhatIsClean(t *testing.T) {
	before := mapped(t)
	LetGo()
	if after := mapped(t); after > before*3/4 {
		t.Errorf("%d KiB of the program's file are mapped, and were %d", after, before)
	}
}
