package health

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// tcpTable is as /proc/net/tcp is; each line is a port in hexadecimal and a state.
func tcpTable(lines ...string) *strings.Reader {
	var table strings.Builder
	table.WriteString("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n")
	for i, line := range lines {
		port, state, _ := strings.Cut(line, " ")
		_, _ = fmt.Fprintf(&table, "%4d: 0100007F:%s 00000000:0000 %s 00000000:00000000 00:00000000 00000000  1000        0 %d 1 0 100 0 0 10 0\n", i, port, state, 100+i)
	}
	return strings.NewReader(table.String())
}

func TestWhoListens(t *testing.T) {
	many := func(n int) []string { return strings.SplitAfterN(strings.Repeat("2328 01,", n), ",", n) }
	for _, tt := range []struct {
		name  string
		lines []string
		found int // the inode
		whole bool
	}{
		{"nobody", nil, 0, true},
		{"Linux' order", []string{"1F90 0A", "2328 0A", "2328 01", "2328 06"}, 101, true},
		{"one behind a connection, as another kernel may have it", []string{"2328 01", "2328 0A"}, 101, true},
		{"only connections to that port", []string{"2328 01", "2328 06"}, 0, true},
		{"more connections than are read, in Linux' order: nobody listens", append([]string{"1F90 0A"}, many(5*maxOthers)...), 0, true},
		{"and in none: nobody knows", append([]string{"2328 01", "1F90 0A"}, many(5*maxOthers)...), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want, got := map[string]bool{}, map[string]bool{}
			if tt.found > 0 {
				want[fmt.Sprintf("socket:[%d]", tt.found)] = true
			}
			table := tcpTable(tt.lines...)
			if whole := listeningIn(table, 9000, got); whole != tt.whole || !maps.Equal(got, want) {
				t.Errorf("%v, whole %t; want %v, %t", got, whole, want, tt.whole)
			}
			if len(tt.lines) > 2*maxOthers && table.Len() == 0 {
				t.Error("it reads all of a long table")
			}
		})
	}
}
