package main

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"hypeman"
	"hypeman/packages/param"
)

// fill sets the fields of a struct of parameters from the arguments of a case, whose names are those of the API. One that
// the struct does not have is an error of the case or of the package.
func fill(params any, args map[string]any) {
	into := reflect.ValueOf(params).Elem()
	for name, given := range args {
		field := into.FieldByNameFunc(func(field string) bool { return snake(field) == name })
		switch {
		case field.IsValid():
			set(field, given)
		case name != "id" && name != "snapshot_id" && name != "timeout_ms":
			panic(fmt.Sprintf("%T has no %s", params, name))
		}
	}
}

func set(field reflect.Value, given any) {
	switch into := field.Addr().Interface().(type) {
	case *hypeman.SnapshotCompressionConfigParam:
		fields := given.(map[string]any)
		if fields["enabled"] == false {
			*into = hypeman.NoCompression()
		}
		fill(into, fields)
	case *param.Opt[string]:
		*into = hypeman.String(given.(string))
	case *param.Opt[int64]:
		*into = hypeman.Int(int64(given.(float64)))
	case *param.Opt[bool]:
		*into = hypeman.Bool(given.(bool))
	case *[]uint32:
		for _, number := range given.([]any) {
			*into = append(*into, uint32(number.(float64)))
		}
	case *[]hypeman.Disk:
		for _, disk := range given.([]any) {
			fields := disk.(map[string]any)
			readonly, _ := fields["readonly"].(bool)
			*into = append(*into, hypeman.Disk{Path: fields["path"].(string), Readonly: readonly})
		}
	case *map[string]string:
		*into = map[string]string{}
		for key, value := range given.(map[string]any) {
			(*into)[key] = value.(string)
		}
	default:
		field.Set(reflect.ValueOf(given).Convert(field.Type()))
	}
}

// snake is a name of Go's as the API has it: SourceInstanceID is source_instance_id.
func snake(name string) string {
	var made strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		begins := i > 0 && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if begins {
			made.WriteByte('_')
		}
		made.WriteRune(unicode.ToLower(r))
	}
	return made.String()
}
