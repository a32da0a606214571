package authentik

import (
	"strconv"
	"strings"
)

// plainYAML reads YAML as plain as authentik's default.yml: tables of tables, lists and
// scalars, one a line, by indentation. ok is false for whatever is more than that, and the
// library reads it then; FuzzPlainYAML holds both to the same. It is there because every start
// reads default.yml, and the library takes most of a millisecond for it.
func plainYAML(text string) (tree map[string]any, ok bool) {
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
		return nil, false // other letters, and other ends of lines
	}
	p := plainReader{open: []plainTable{{indent: -1, table: map[string]any{}}}}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		content := strings.TrimLeft(line, " ")
		if content == "" || content[0] == '#' {
			continue
		}
		if !p.line(len(line)-len(content), content) {
			return nil, false
		}
	}
	return p.open[0].table, p.pending == nil
}

// plainReader is what has been read so far.
type plainReader struct {
	// open are the tables that the next line may belong to, the innermost last.
	open []plainTable
	// pending is a name whose value is on the lines below it: a table or a list.
	pending *plainName
	// list is the list that is being read, nil for none.
	list *plainName
}

// plainTable is a table and how far its names are indented; -1: it has none yet.
type plainTable struct {
	indent int
	table  map[string]any
}

// plainName is a name in a table, and how far it is indented.
type plainName struct {
	indent int
	table  map[string]any
	name   string
}

func (p *plainReader) line(indent int, content string) bool {
	if item, ok := strings.CutPrefix(content, "- "); ok {
		return p.item(indent, item)
	}
	name, rest, ok := strings.Cut(content, ":")
	if !ok || !isPlainName(name) || rest != "" && rest[0] != ' ' {
		return false
	}
	p.list = nil
	if !p.enter(indent) {
		return false
	}
	table := p.open[len(p.open)-1].table
	if _, twice := table[name]; twice {
		return false
	}
	value, none, ok := plainScalar(rest)
	table[name] = value
	if none {
		p.pending = &plainName{indent, table, name}
	}
	return ok
}

// enter finds the table that a name of this indentation belongs to, which may be the one that
// the name before it opens.
func (p *plainReader) enter(indent int) bool {
	if p.pending != nil {
		if indent <= p.pending.indent {
			return false // a name without a value, which is null
		}
		below := map[string]any{}
		p.pending.table[p.pending.name] = below
		p.open = append(p.open, plainTable{indent, below})
		p.pending = nil
		return true
	}
	for len(p.open) > 1 && p.open[len(p.open)-1].indent > indent {
		p.open = p.open[:len(p.open)-1]
	}
	last := &p.open[len(p.open)-1]
	if last.indent < 0 {
		last.indent = indent
	}
	return last.indent == indent
}

// item is one of a list, whose dashes may stand below the first letter of its name.
func (p *plainReader) item(indent int, text string) bool {
	if p.list == nil {
		if p.pending == nil || indent < p.pending.indent {
			return false
		}
		p.list = &plainName{indent, p.pending.table, p.pending.name}
		p.list.table[p.list.name] = []any{}
		p.pending = nil
	}
	value, none, ok := plainScalar(" " + text)
	if !ok || none || indent != p.list.indent {
		return false
	}
	if table, isTable := value.(map[string]any); isTable && table != nil {
		return false
	}
	list, _ := p.list.table[p.list.name].([]any)
	p.list.table[p.list.name] = append(list, value)
	return true
}

// plainScalar reads what stands behind a name's colon. none: nothing does.
func plainScalar(rest string) (value any, none, ok bool) {
	text := strings.Trim(rest, " ")
	if at := strings.Index(text, " #"); at >= 0 && !strings.ContainsAny(text[:at], `"'`) {
		text = strings.TrimRight(text[:at], " ")
	}
	if text == "" {
		return nil, true, true
	}
	if value, ok := plainWord(text); ok {
		return value, false, true
	}
	if inner := text[1:]; text[0] == '"' && len(inner) > 0 && inner[len(inner)-1] == '"' {
		inner = inner[:len(inner)-1]
		return inner, false, isPlainText(inner)
	}
	if text[0] >= '0' && text[0] <= '9' {
		return plainNumber(text)
	}
	return text, false, isPlainText(text) && isPlainStart(text)
}

// plainWord reads YAML's own words.
func plainWord(text string) (value any, ok bool) {
	switch text {
	case "{}":
		return map[string]any{}, true
	case "true", "True":
		return true, true
	case "false", "False":
		return false, true
	case "null":
		return nil, true
	}
	return nil, false
}

// plainNumber reads a whole number, or what only begins like one, as an address does.
func plainNumber(text string) (value any, none, ok bool) {
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		return n, false, text == "0" || text[0] != '0'
	}
	if whole, part, ok := strings.Cut(text, "."); ok && isNumber(whole) && isNumber(part) && (whole == "0" || whole[0] != '0') {
		f, err := strconv.ParseFloat(text, 64)
		return f, false, err == nil
	}
	isAddress := strings.Count(text, ".") > 1 || strings.Contains(text, "/")
	span := strings.TrimRight(text, "smh")
	return text, false, (isAddress || span != text && isNumber(span)) && isPlainText(text)
}

// isPlainStart: a word that is none of YAML's own, of any version, whatever its case.
func isPlainStart(text string) bool {
	first := text[0] | 0x20 // lower case
	if first < 'a' || first > 'z' {
		return text[0] == '/' || strings.HasPrefix(text, "::") || strings.HasPrefix(text, "./")
	}
	switch strings.ToLower(text) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return true
}

// isPlainText tells whether a text holds nothing that could mean something to YAML.
func isPlainText(text string) bool {
	for i := range len(text) {
		c := text[i]
		isWord := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !isWord && !strings.ContainsRune("_-./:%()=@+", rune(c)) {
			return false
		}
	}
	return !strings.HasSuffix(text, ":")
}

func isPlainName(name string) bool {
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	switch name {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
