package logs

import (
	"time"

	"go.uber.org/zap/zapcore"
)

// Str is a text.
func Str(key, value string) Field {
	return Field{Key: key, Type: zapcore.StringType, String: value}
}

// Num is a number.
func Num[N ~int | ~int64](key string, value N) Field {
	return Field{Key: key, Type: zapcore.Int64Type, Integer: int64(value)}
}

// Dur is a time span, to the millisecond.
func Dur(key string, value time.Duration) Field {
	return Str(key, value.Round(time.Millisecond).String())
}

// Ints are numbers.
func Ints(key string, values []int) Field {
	return Field{Key: key, Type: zapcore.ArrayMarshalerType, Interface: zapcore.ArrayMarshalerFunc(
		func(enc zapcore.ArrayEncoder) error {
			for _, v := range values {
				enc.AppendInt(v)
			}
			return nil
		})}
}
