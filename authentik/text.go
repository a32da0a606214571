package authentik

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// text is a setting's value as Python's str() has it; of null, tables and lists it is empty.
func text(value any) string {
	switch value := value.(type) {
	case nil, map[string]any, []any:
		return ""
	case string:
		return value
	case json.Number:
		return number(value.String())
	case float64:
		return number(strconv.FormatFloat(value, 'g', -1, 64))
	default: // whole numbers and truth values
		return fmt.Sprint(value)
	}
}

// number writes a number as Python prints it: what is not whole stays so, 1e3 is 1000.0.
func number(literal string) string {
	if !strings.ContainsAny(literal, ".eE") {
		return literal
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return literal
	}
	printed := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(printed, ".e") {
		printed += ".0"
	}
	return printed
}

// withoutUser hides what stands before an address as in a URL: whoever writes a URL where a
// host belongs writes a password with it. What is left is no host either. A leading @ is an
// abstract socket's (libpq, host).
func withoutUser(address string) string {
	if at := strings.LastIndexByte(address, '@'); at > 0 {
		return "***" + address[at:]
	}
	return address
}
