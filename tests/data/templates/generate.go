// Writes cases.json beside this file: templates, and what Go's text/template makes of them.
//
//	go run tests/data/templates/generate.go
//
// needs Go 1.18 or newer and no network; cases.json is from Go 1.19. tests/test_templates.py holds docker_machine.render
// to it. The table below is grouped after the sections of the documentation of text/template and fmt. A section tells
// its data set, the templates that give a text and those that give an error; one that does otherwise stops the program.
//
// Templates run as docker-machine runs them: template.New(""), default options, functions json and prettyjson over data
// decoded from JSON. Two things are ours: whole numbers are decoded as int, so that they stay whole, and there are the
// functions upper, lower, split, join and title.
//
// Left out: what we do not have (define, template, block, call, break, continue, slice, html, js, methods, characters,
// bytes of strings, numbers and escapes that JSON does not know, verbs but %v %s %d %q %t %f %g, widths and indexes as
// operands), and what other versions of Go do otherwise or say in other words (range over an int, "else with", a stray
// ")", an index that is exactly the length, JSON's \b and \f, zeros that pad a string), and errors at a place of more
// than 20 bytes, which Go once cut there. The newest Go adds ": int and string" to "incompatible types for comparison".
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
	"unicode/utf8"
)

const data = `{
"values": {
 "Str": "hello", "Empty": "", "Words": "one,two,three", "Lines": "a\nb\tc", "Int": 42, "Zero": 0, "Neg": -7,
 "Long": 9007199254740993, "Float": 2.5, "Whole": 2.0, "FZero": 0.0, "Huge": 1e21, "Large": 123456.5,
 "Tiny": 0.000001, "True": true, "False": false, "Nil": null, "List": ["a", "b", "c"], "Numbers": [3, 1, 2], "None": [],
 "Map": {"b": 2, "a": 1, "B": 3}, "EmptyMap": {}, "Nested": {"A": {"B": {"C": "deep"}}, "Nil": null},
 "Matrix": [[1, 2], [3, 4]], "People": [{"Name": "Ann", "Age": 30}, {"Name": "Bob"}],
 "Mixed": [1, "two", 3.5, true, null, ["x"], {"k": "v"}], "Dashed": {"a-b": 1, "": 2, "ü": 3}, "Key": "a",
 "Bools": [true, false], "Uni": "Grüße, 世界 🌍", "Größe": 1, "Html": "<a href=\"x\">Tom & 'Jerry'</a>",
 "Url": "a b&c=d/é?+~", "Quoted": "say \"hi\" \\ \u0060x\u0060",
 "Floats": [0.1, 1e21, 1e20, 1e-7, 1e-6, 100000.0, 2.0, -0.5, 0.3]
},
"machine": {
 "ConfigVersion": 3, "DriverName": "generic", "Name": "web",
 "Driver": {
  "IPAddress": "192.0.2.10", "MachineName": "web", "SSHUser": "root", "SSHPort": 22,
  "SSHKeyPath": "/home/me/.ssh/id_rsa", "EnginePort": 2376, "SSHKey": ""
 },
 "HostOptions": {
  "Driver": "", "Memory": 0, "Disk": 0,
  "AuthOptions": {
   "StorePath": "/home/me/.docker/machine/machines/web", "ServerCertSANs": ["web.example.net", "192.0.2.10"]
  },
  "EngineOptions": {
   "ArbitraryFlags": [], "Dns": null, "Labels": ["zone=b", "role=db"], "Env": ["HTTP_PROXY=http://p:3128/?a=b&c=<d>"],
   "StorageDriver": "overlay2", "TlsVerify": true, "InstallURL": "https://get.docker.com"
  },
  "SwarmOptions": {
   "IsSwarm": false, "Address": "", "Discovery": "", "Master": false, "Host": "tcp://0.0.0.0:3376", "Heartbeat": 0
  }
 }
},
"list": [{"Name": "b", "Up": true}, {"Name": "a", "Up": false}],
"text": "plain", "number": 42, "float": 0.5, "true": true, "nil": null, "empty": {}
}`

type section struct {
	name string
	data string
	good []string // templates that give a text
	bad  []string // templates that give an error
}

var sections = []section{
	{"literal text", "values", []string{
		"", "plain", "a { b } c", "}} closes nothing", "{ {.Str} }", "line\n\ttab\r\nend\n", "Grüße, 世界 🌍",
		`back\slash \t \n "quoted" 'x' %d %`,
		"<a href=\"x\">&amp;</a>", " {{.Str}} ", "{{.Str}}{{.Int}}",
	}, []string{
		"{{{.Str}}", "a{{{{.Str}}}}", "{{", "a {{", "a\n\n{{ .Str", "{{}}", "{{ }}", "a{{}}b", "{{.Str", "{{.Str}",
		"{{.Str}{", "\n  {{.Str\n\n", "{{ .Str }", "{{\n}}",
	}},
	{"literal text after an action", "values", []string{"{{.Str}}}", "{{.Str}} }}", "{{.Str}}{",
		"$Str .Str nil {{1}}", "{{ \n\t.Str\n }}", "{{.Str}}\n{{.Int}}\n"}, nil},

	{"text and spaces", "values", []string{
		"{{23 -}} < {{- 45}}", "a {{- 1 -}} b", "a {{- 1}} b", "a {{1 -}} b", "a \n\t\r {{- .Str -}} \n\t\r b",
		"a  {{- .Str}}  ", " {{- .Str -}} ", "\n\n{{- 1 -}}\n\n{{- 2 -}}\n\n",
		"a {{- /* note */ -}} b", "a {{- /* note */}} b", "a {{/* note */ -}} b", "{{- 1}}", "{{1 -}}", "x {{-3}} y",
		"x {{- -3}} y", "x {{- -3 -}} y", "{{3 -}} x", "a\u00a0{{- 1 -}}\u00a0b", "a\u2003{{- 1 -}}\u2003b",
		"{{if .True -}}\n  yes\n{{- else -}}\n  no\n{{- end}}.", "{{range .List -}} \n {{.}}, {{- end}}",
		"a {{-\n1\n-}} b", "a {{-\t1\t-}} b", "{{.Str -}}\n\n", "\v{{- 1 -}}\f", "a {{- \"-}}\" -}} b",
		"a {{- \" -}} \" -}} b", "x{{- if .False }}a{{ end -}} y",
	}, []string{"a {{-1 -", "{{- }}", "{{- -}}", "{{ -}}", "{{-}}", "{{-", "{{-a}}", "{{1-}}", "{{.Str-}}",
		"{{.Str - }}", "a {{-.Str}} b"}},

	{"actions: comments", "values", []string{
		"a{{/* a comment */}}b", "{{/* several\nlines */}}{{.Str}}", "{{/**/}}", "{{/* {{.Nope | */}}x",
		"{{/* a * / ** */}}x", "{{- /* a */ -}} x", "{{/* a */}}{{/* b */}}{{.Int}}",
	}, []string{"{{/* open", "{{/* open }}", "{{ /* blank before */}}", "{{/* blank after */ }}", "{{/* a */ .Str}}",
		"x\n{{/* open\n", "{{/*}}", "{{/*/}}", "{{/ .Str}}"}},

	{"actions: if", "values", []string{
		"{{if .True}}yes{{end}}", "{{if .False}}yes{{end}}", "{{if .True}}yes{{else}}no{{end}}",
		"{{if .False}}yes{{else}}no{{end}}",
		"{{if .False}}a{{else if .True}}b{{else}}c{{end}}", "{{if .False}}a{{else if .Zero}}b{{else}}c{{end}}",
		"{{if .False}}a{{else if .Empty}}b{{else if .Int}}c{{else}}d{{end}}",
		"{{if .False}}a{{else if .Nil}}b{{end}}",
		"{{if eq .Int 42}}same{{end}}", "{{if and .True .Str}}both{{end}}",
		"{{if .True}}{{if .False}}a{{else}}b{{end}}{{else}}c{{end}}", "{{if .Str}}{{.}}{{end}}",
		"{{if .Nope}}a{{else}}b{{end}}", "{{if .Nope.Deeper}}a{{else}}b{{end}}",
		"{{if not .Nope}}none{{end}}", "{{ if .True }} a {{ else }} b {{ end }}",
		"{{if .Str | len | eq 5}}five{{end}}", "{{if (eq .Str \"hello\")}}hi{{end}}",
		"{{if true}}a{{end}}{{if false}}b{{end}}",
	}, []string{
		"{{if}}x{{end}}", "{{if .True}}x", "{{if .True}}x{{else}}y", "{{if .True}}{{else}}{{else}}{{end}}", "{{end}}",
		"a{{end}}b", "{{else}}", "{{if .True}}{{end}}{{end}}", "{{if .True}}{{else if}}{{end}}",
		"{{if .True}}{{end .Str}}", "{{if .True}}{{else .Str}}{{end}}",
		"{{if .True}}\n\n{{if .False}}\n{{end}}\n", "{{if .Int.X}}a{{end}}", "\n\n {{if lt .Str 1}}a{{end}}",
		"{{else if .True}}x{{end}}", "{{if .True}}{{else}}{{else if .False}}{{end}}", "{{if nope}}{{end}}",
		"{{if | .True}}{{end}}", "{{if nil}}{{end}}",
	}},
	{"actions: truth", "values", []string{
		"{{if .Zero}}t{{else}}f{{end}}", "{{if .Int}}t{{else}}f{{end}}", "{{if .Neg}}t{{else}}f{{end}}",
		"{{if .FZero}}t{{else}}f{{end}}", "{{if .Float}}t{{else}}f{{end}}", "{{if .Empty}}t{{else}}f{{end}}",
		"{{if .Str}}t{{else}}f{{end}}",
		"{{if .None}}t{{else}}f{{end}}", "{{if .List}}t{{else}}f{{end}}", "{{if .EmptyMap}}t{{else}}f{{end}}",
		"{{if .Map}}t{{else}}f{{end}}", "{{if .Nil}}t{{else}}f{{end}}", "{{if \"false\"}}t{{else}}f{{end}}",
		"{{if 0}}t{{else}}f{{end}}", "{{if 0.0}}t{{else}}f{{end}}",
		"{{if ``}}t{{else}}f{{end}}",
		"{{range .Mixed}}{{if .}}t{{else}}f{{end}}{{end}}", "{{not .Zero}} {{not .Str}} {{not .Nil}} {{not .None}}",
	}, nil},

	{"actions: range", "values", []string{
		"{{range .List}}{{.}};{{end}}", "{{range .Numbers}}{{.}} {{end}}", "{{range .None}}x{{else}}nothing{{end}}",
		"{{range .None}}x{{end}}", "{{range .Nil}}x{{else}}nothing{{end}}", "{{range .Nope}}x{{else}}nothing{{end}}",
		"{{range .Nope.Deeper}}x{{else}}nothing{{end}}",
		"{{range .Map}}{{.}} {{end}}", "{{range .EmptyMap}}x{{else}}nothing{{end}}",
		"{{range $k, $v := .Map}}{{$k}}={{$v}} {{end}}", "{{range $i, $e := .List}}{{$i}}:{{$e}} {{end}}",
		"{{range $e := .List}}[{{$e}}{{.}}]{{end}}", "{{range $e := .Map}}{{$e}},{{end}}",
		"{{range $i, $e := .List}}{{if $i}}, {{end}}{{$e}}{{end}}", "{{range .People}}{{.Name}} {{.Age}};{{end}}",
		"{{range .Matrix}}{{range .}}{{.}},{{end}};{{end}}",
		"{{range $r, $row := .Matrix}}{{range $c, $x := $row}}{{$r}}{{$c}}={{$x}} {{end}}{{end}}",
		"{{range .Mixed}}({{.}}){{end}}", "{{range $k, $v := .Dashed}}{{printf \"%q\" $k}}{{$v}} {{end}}",
		"{{range .List}}{{$.Str}} {{end}}", "{{range split .Words \",\"}}<{{.}}>{{end}}",
		"{{range $k, $v := .Nested}}{{$k}} {{$v}};{{end}}", "{{range index .Matrix 1}}{{.}} {{end}}",
		"{{range .List}}{{else}}{{end}}", "{{range $i, $_ := .List}}{{$i}}{{end}}",
		"{{range .List | len | printf \"%d\" | split \"3\"}}{{.}}{{end}}",
	}, []string{
		"{{range}}x{{end}}", "{{range .List}}x", "{{range .True}}x{{end}}", "{{range .Float}}x{{end}}",
		"{{range $i, $e, $f := .List}}{{end}}", "{{range $i, .List}}{{end}}", "{{range $i $e := .List}}{{end}}",
		"{{range $i, := .List}}{{end}}", "{{range $i := }}{{end}}",
		"{{range .List}}{{else}}{{else}}{{end}}", "{{range .List}}{{.Name}}{{end}}",
		"{{range $i, $e := .List}}{{end}}{{$i}}", "{{range .Numbers}}{{len .}}{{end}}",
		"{{range .List}}{{end}}{{else}}", "{{range .List}}{{if .}}{{end}}", "{{range true}}x{{end}}",
		"{{range nil}}{{end}}",
	}},

	{"actions: with", "values", []string{
		"{{with .Str}}{{.}}{{end}}", "{{with .Empty}}a{{else}}b{{end}}", "{{with .Nested}}{{.A.B.C}}{{end}}",
		"{{with .Nested.A}}{{with .B}}{{.C}}{{end}}{{end}}", "{{with $x := .Str}}{{$x}}{{.}}{{end}}",
		"{{with $x := .Empty}}a{{else}}[{{$x}}]{{end}}", "{{with .Nil}}a{{end}}b",
		"{{with .Nope}}a{{else}}none{{end}}", "{{with .Nope.Deeper}}a{{else}}none{{end}}",
		"{{with .Nested}}{{$.Str}}{{end}}", "{{with .Empty}}a{{else}}{{.Str}}{{end}}", "{{with 3}}{{.}}{{end}}",
		"{{with printf \"%d\" .Int}}{{.}}{{end}}", "{{with index .People 0}}{{.Name}}{{end}}",
		"{{with .Map}}{{.a}}{{.b}}{{end}}", "{{with $x := 1}}{{with $y := 2}}{{$x}}{{$y}}{{end}}{{end}}",
	}, []string{"{{with}}x{{end}}", "{{with .Str}}x", "{{with .Str}}{{.X}}{{end}}",
		"{{with $x := .Str}}{{end}}{{$x}}", "{{with .Str}}{{else}}{{else}}{{end}}", "{{with $x, $y := .Map}}{{end}}",
		"{{with .Str}}{{if .}}{{end}}"}},

	{"arguments: fields", "values", []string{
		"{{.Str}}", "{{.Int}} {{.Neg}} {{.Zero}} {{.Long}}",
		"{{.Float}} {{.Whole}} {{.FZero}} {{.Huge}} {{.Large}} {{.Tiny}}", "{{.True}} {{.False}}", "{{.Nil}}",
		"{{.Empty}}|", "{{.List}}", "{{.Numbers}} {{.None}} {{.Matrix}}", "{{.Map}}", "{{.EmptyMap}}", "{{.Mixed}}",
		"{{.Nested}}", "{{.Nested.A}}", "{{.Nested.A.B.C}}", "{{.People}}", "{{.Floats}}", "{{.Dashed}}",
		"{{.Uni}}", "{{.Größe}}", "{{.Nope}}", "{{.Nope.Deeper}}", "{{.Nope.Deeper.Still}}", "{{.Nested.Nope}}",
		"{{.Nested.A.Nope.X.Y}}", "{{.Nested.Nil}}", "{{.str}}", "{{.Map.a}} {{.Map.B}} {{.Map.b}} {{.Map.A}}",
		"{{.EmptyMap.X}}", "{{.Bools}}", "{{(.Nested).A.B}}", "{{.Nested.A.B | len}}", "{{.Lines}}", "{{.Html}}",
		"{{ .Str }} {{\t.Str\t}} {{\n.Str\n}}",
	}, []string{
		"{{.Str.X}}", "{{.Int.X}}", "{{.True.X}}", "{{.Float.X}}", "{{.List.X}}",
		"{{.Nested.A.B.C.D}}", "{{.Map.a.b}}", "{{.List.0}}", "{{.a-b}}", "{{.Dashed.a-b}}", "{{..Str}}", "{{.Str.}}",
		"{{.Str..X}}", "{{.Str .Int}}", "{{.Str 1}}", "{{.Nested.A 1}}", "{{. 1}}", "{{.Map.a \"x\"}}",
		"Größe {{.Str.X}}", "a\nb {{.Str.X}}", "{{.Nope 1}}", "{{.Str.Größe}}", "{{.Int.TwentyBytesLong}}", "{{.$x}}",
		"{{.Str$}}", "{{.Str\"x\"}}", "{{.Str(1)}}", "{{.Nested[\"A\"]}}",
	}},
	{"arguments: dot", "text", []string{"{{.}}", "{{len .}}", "{{printf \"%s!\" .}}", "{{$}}", "{{if .}}a{{end}}",
		"{{with .}}{{.}}{{end}}"}, []string{"{{.X}}", "{{.X.Y}}", "{{$.X}}"}},
	{"arguments: dot", "list", []string{"{{.}}", "{{len .}}", "{{index . 0}}", "{{(index . 0).Name}}",
		"{{range .}}{{.Name}}={{.Up}} {{end}}", "{{range $}}{{.Name}}{{end}}", "{{json .}}", "{{prettyjson .}}",
		"{{range .}}{{if .Up}}{{.Name}}{{end}}{{end}}"}, []string{"{{.Name}}", "{{index . -1}}",
		"{{index . \"Name\"}}", "{{(index . 0).Name.X}}"}},
	{"arguments: dot", "number", []string{"{{.}}", "{{printf \"%05d\" .}}", "{{eq . 42}}", "{{json .}}"},
		[]string{"{{.X}}", "{{len .}}", "{{index . 0}}"}},
	{"arguments: dot", "float", []string{"{{.}}", "{{. | printf \"%.2f\"}}", "{{lt . 1.0}}"}, []string{"{{.X}}",
		"{{lt . 1}}"}},
	{"arguments: dot", "true", []string{"{{.}}", "{{not .}}"}, []string{"{{.X}}", "{{range .}}{{end}}"}},
	{"arguments: dot", "nil", []string{"{{.}}", "{{if .}}a{{else}}b{{end}}", "{{.X}}", "{{.X.Y}}", "{{$}}",
		"{{range .}}{{else}}empty{{end}}"}, []string{"{{index . 0}}"}},
	{"arguments: dot", "empty", []string{"{{.}}", "{{.X}}", "{{len .}}", "{{range .}}x{{else}}empty{{end}}",
		"{{index . \"x\"}}", "{{json .}}", "{{prettyjson .}}"}, nil},

	{"arguments: constants", "values", []string{
		"{{true}} {{false}}", "{{1}} {{-1}}",
		"{{1.5}} {{-0.25}} {{1.0}}", "{{1e3}} {{1E-7}} {{1.5e+20}} {{1e21}}",
		`{{"quoted"}}`, `{{"a\tb\nc\"d\\e"}}`, `{{"\u0041\u00e9\u4e16"}}`, "{{`raw \\n \"x\"`}}",
		"{{`two\nlines`}}", `{{"{{"}} {{"}}"}}`, `{{"世界"}}`, `{{""}}|{{` + "``" + `}}`,
		"{{9223372036854775807}} {{-9223372036854775808}}", "{{print nil}}", "{{printf \"%v\" nil}}",
		"{{\"it's\"}}", "{{print 0 -0}}", "{{\"a\"}}{{\"b\"}}",
	}, []string{
		"{{nil}}", "{{nil.X}}", "{{1a}}", "{{0b12}}", "{{0x}}", "{{0xg}}", "{{1__0}}", "{{1.2.3}}", "{{1e}}",
		"{{1e400}}", "{{'ab'}}", `{{"\ud800"}}`, `{{'\ud800'}}`, `{{"\U00110000"}}`,
		"{{''}}", "{{'a}}", "{{'}}", `{{"open}}`, "{{\"two\nlines\"}}", "{{`open}}", "a\n{{`open\n}}\nb", `{{"\z"}}`,
		`{{"\x4"}}`, `{{'\z'}}`, `{{"\'"}}`, "{{1 2}}", "{{true 1}}", "{{true.X}}", "{{1.X}}", "{{\"a\".X}}",
		"{{\"a\" \"b\"}}", "{{+}}", "{{- 1-2}}", "{{1+2}}", "{{1 + 2}}", "{{3 - 2}}", "{{.5.5}}", "{{print 1.x}}",
	}},
	{"arguments: variables", "values", []string{
		"{{$x := 1}}{{$x}}", "{{$x := .Str}}{{$x}} {{$x}}", "{{$x := .Nested}}{{$x.A.B.C}}", "{{$.Str}}",
		"{{$x := 1}}{{$x = 2}}{{$x}}", "{{$x := 1}}{{if .True}}{{$x = 2}}{{end}}{{$x}}",
		"{{$x := 1}}{{if .True}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "{{$x := 1}}{{range .List}}{{$x = .}}{{end}}{{$x}}",
		"{{$x := 1}}{{range .List}}{{$x := .}}{{$x}}{{end}}{{$x}}",
		"{{$x := 0}}{{range $i, $e := .Numbers}}{{if gt $e $x}}{{$x = $e}}{{end}}{{end}}{{$x}}",
		"{{if $x := .Str}}{{$x}}{{end}}", "{{if $x := .Empty}}a{{else}}[{{$x}}]{{end}}", "{{$x := .Str | len}}{{$x}}",
		"{{$x := printf \"%d\" 3}}{{$x | printf \"%s!\"}}", "{{$x := 1}}{{$x = \"text\"}}{{$x}}",
		"{{$a := 1}}{{$b := $a}}{{$a = 2}}{{$a}}{{$b}}", "{{$x := .Nope}}{{$x}}", "{{$x := .Nil}}{{$x}}",
		"{{with .Nested}}{{$.Int}}{{$x := .A}}{{$x.B.C}}{{end}}", "{{$größe := 3}}{{$größe}}",
		"{{$x := index .People 0}}{{$x.Name}}", "{{$x:=1}}{{$x}}", "{{$_ := 1}}{{$_}}", "{{$x1 := 1}}{{$x1}}",
		"{{range $x := .List}}{{$x = \"z\"}}{{$x}}{{end}}", "{{$x := .Nil}}{{$x.Y}}",
		"{{$i := 9}}{{range $i, $e := .List}}{{$i}}{{end}}{{$i}}", "{{$x := 1}}{{with $x = 2}}{{.}}{{end}}{{$x}}",
		"{{$x := .Nested}}{{$x.Nope.X}}",
	}, []string{
		"{{$x}}", "{{$x = 1}}", "{{$x.Y}}", "{{if .True}}{{$x := 1}}{{end}}{{$x}}", "{{$x := }}", "{{$x : 1}}",
		"{{$x :- 1}}", "{{$x, $y := 1}}", "{{$x := 1 2}}", "{{$x := $y}}", "{{$x := $x}}", "{{$x := 1}}{{$x.Y}}",
		"{{$x := .Str}}{{$x.Y.Z}}", "{{$x := nil}}", "{{:= 1}}", "{{= 1}}", "{{x := 1}}", "{{.Str := 1}}",
		"{{$.Str := 1}}", "{{$x := 1 := 2}}", "{{$x := 1}}{{$x 2}}", "{{print $x := 1}}", "{{$x$y}}", "{{$x ==  1}}",
		"{{$ x}}", "{{$Größe}}",
	}},
	{"arguments: parentheses", "values", []string{
		"{{(1)}}", "{{(.Str)}}", "{{((.Str))}}", "{{len (.Str)}}", "{{(index .People 0).Name}}",
		"{{(index .People 1).Age}}", "{{(.Nested.A).B.C}}", "{{(index .Matrix 1) | len}}",
		"{{print (len .Str) (len .List)}}", "{{eq (len .List) 3}}",
		"{{printf \"%d %s\" (len .Str) (printf \"%q\" .Str)}}", "{{(.Str | len) | eq 5}}", "{{($).Str}}",
		"{{$x := (.Nested)}}{{$x.A.B.C}}", "{{( .Str )}}", "{{not (and .True (or .False .Zero))}}", "{{(.Nope).X}}",
		"{{(.Nil).X}}", "{{(print .Str)}}", "{{print (1) (2)}}", "{{ (\"a\") }}", "{{(index .Nested \"A\").B.C}}",
	}, []string{"{{(1}}", "{{(}}", "{{()}}", "{{((1)}}", "{{(1).X}}", "{{(.Str).X}}", "{{(index .List 0).X}}",
		"{{print (}}", "{{(1) 2}}", "{{(.Str) .Int}}", "{{(index .List 7).X}}", "{{(1)(2)}}", "{{print (1)2}}",
		"{{(nil)}}", "{{len (index .People 0).Name.X}}", "{{(\nlen 3)}}"}},

	{"pipelines", "values", []string{
		"{{.Str | print}}", "{{.Str | printf \"%s-%s\" \"a\"}}", "{{\"output\" | len}}",
		"{{.List | len | printf \"%03d\"}}", "{{\"put\" | printf \"%s%s\" \"out\" | printf \"%q\"}}",
		"{{with \"output\"}}{{printf \"%q\" .}}{{end}}", "{{with $x := \"output\" | printf \"%q\"}}{{$x}}{{end}}",
		"{{with $x := \"output\"}}{{$x | printf \"%q\"}}{{end}}", "{{1 | index .List}}", "{{.Map | json}}",
		"{{.Str|upper|len}}", "{{.Str | upper | lower | title}}", "{{.Nil | print}}", "{{.Nope | print}}",
		"{{.Int | eq 42}}", "{{.Str | eq \"x\" \"hello\"}}", "{{.Str | not}}", "{{.Zero | or 0}}",
		"{{(.Str | upper) | printf \"%s %s\" (.Str | lower)}}", "{{3 | lt 2}}",
		"{{.Words | len | printf \"%d-%d\" 1}}", "{{.Nope | printf \"%v\"}}",
	}, []string{
		"{{|}}", "{{| .Str}}", "{{.Str | | print}}", "{{1 | 2}}", "{{.Str | .Int}}", "{{.Str | \"x\"}}",
		"{{.Str | nil}}", "{{.Str | true}}", "{{.Str | $}}", "{{nil | print}}", "{{.Str | len 3}}",
		"{{.Str | upper \"x\"}}", "{{.Int | len}}", "{{.Str | nope}}", "{{.Str || print}}", "{{.Str | .}}",
		"{{.Str & print}}", "{{.Int | upper}}", "{{.Str | print | .Nope}}", "{{.Nil | upper}}", "{{.Nope | upper}}",
	}},

	{"functions: unknown names and punctuation", "values", nil, []string{
		"{{nope}}", "{{nope .Str}}", "{{.Str | print | nope2}}", "{{Str}}", "{{_}}", "{{a.b}}", "{{#}}",
		"{{.Str # x}}", "{{@}}", "{{.Str; .Int}}", "{{,}}", "{{print 1, 2}}", "{{!.Str}}", "{{*}}", "{{[1]}}",
		"{{{}}", "{{ {} }}", "{{print}", "{{print(1)}}", "{{print\"x\"}}", "{{\x01}}", "{{°}}", "{{größe}}",
		"{{.Str ? 1}}", "{{a b c}}", "\n\n{{nope}}", "{{\\}}", "{{~}}", "{{<}}", "{{.Str\x00}}",
		"{{print .Str}}{{upper}}{{nope}}", "{{printf \"%d\" 1 nope}}", "{{len.X}}", "{{end.X}}", "{{if.True}}x",
		"{{else}}{{nope}}", "{{.Str &}}", "{{print 'a' 'b}}", "{{eq=1}}", "{{print:1}}", "{{\u200b.Str}}",
	}},
	{"functions: and or not", "values", []string{
		"{{and .True .Str}}", "{{and .Zero .Str}}", "{{and .Str .Empty .Int}}|", "{{and 1}}", "{{or .Zero .Str}}",
		"{{or .Zero .Empty}}|", "{{or .Zero .Empty .List}}", "{{or 1 2}}", "{{or .Nil .Nope}}", "{{and .Nope .Str}}",
		"{{not true}} {{not 0}}", "{{and .True (not .False)}}", "{{or (eq .Int 1) (eq .Int 42)}}",
		"{{.Str | and .Int}}", "{{.Zero | or .Empty}}",
		"{{and .False (index .List 9)}}", "{{or .True (index .List 9)}}", "{{and .Str .Nil}}", "{{or .Empty .Nil}}",
		"{{and .Map .List}}", "{{or \"\" 0 false \"x\"}}",
	}, []string{"{{and}}", "{{or}}", "{{not}}", "{{not 1 2}}", "{{and .True (index .List 9)}}",
		"{{or .False (index .List 9)}}", "{{and 1 .Str.X}}"}},
	{"functions: eq ne", "values", []string{
		"{{eq .Str \"hello\"}} {{eq .Str \"Hello\"}}", "{{eq 1 1}} {{eq 1 2}}",
		"{{eq .Int 1 2 42}} {{eq .Int 1 2 3}}", "{{eq .Float 2.5}} {{eq .Whole 2.0}}",
		"{{eq true true}} {{eq .False false}}", "{{ne 1 2}} {{ne .Str \"hello\"}}",
		"{{eq \"a\" \"a\" 1}}", "{{eq .Nil nil}}", "{{ne .Nil nil}}", "{{eq .Str nil}}",
		"{{eq .Nope nil}}", "{{eq .Nil .Nope}}", "{{ne .Str .Nope}}", "{{eq .Nope \"x\"}}", "{{eq 1 nil}}",
		"{{eq nil nil}}", "{{eq .Uni \"Grüße, 世界 🌍\"}}", "{{eq .List nil}}", "{{eq .Map .Nope}}",
	}, []string{"{{eq}}", "{{eq 1}}", "{{eq 1 1.0}}", "{{eq 1 \"1\"}}", "{{eq .Str 1}}", "{{eq .True 1}}",
		"{{eq .True \"true\"}}", "{{eq .List .Str}}", "{{eq .Str .List}}", "{{eq .Int 1 \"x\"}}", "{{ne}}",
		"{{ne 1}}", "{{ne 1 2 3}}", "{{ne 1 \"1\"}}", "{{eq .Whole 2}}", "{{if eq .Int \"42\"}}a{{end}}",
		"{{eq .List .List}}", "{{eq .Map 1}}"}},
	{"functions: lt le gt ge", "values", []string{
		"{{lt 1 2}} {{lt 2 2}} {{lt 3 2}}", "{{le 1 2}} {{le 2 2}} {{le 3 2}}", "{{gt 1 2}} {{gt 2 2}} {{gt 3 2}}",
		"{{ge 1 2}} {{ge 2 2}} {{ge 3 2}}", "{{lt .Float 3.0}} {{gt .Float 2.5}}",
		"{{lt \"a\" \"b\"}} {{gt \"a\" \"B\"}} {{ge \"\" \"\"}}", "{{lt \"10\" \"9\"}}", "{{lt .Neg .Zero}}",
		"{{gt (len .List) 2}}", "{{lt \"z\" \"é\"}}", "{{le .Str .Str}}",
	}, []string{"{{lt}}", "{{lt 1}}", "{{lt 1 2 3}}", "{{lt 1 2.0}}", "{{lt 1 \"a\"}}", "{{gt \"a\" 1}}",
		"{{lt true false}}", "{{le .True .True}}", "{{lt .Nil 1}}", "{{ge 1 nil}}", "{{lt .List 1}}",
		"{{lt .List .List}}", "{{gt .Map 1}}", "{{lt .Nope 1}}", "{{ge .Int 42.0}}", "{{le .Str .Int}}"}},
	{"functions: len", "values", []string{"{{len .Str}} {{len .Empty}}", "{{len .List}} {{len .None}}",
		"{{len .Map}} {{len .EmptyMap}}", "{{len .Uni}}", "{{len \"é\"}}", "{{len (split .Words \",\")}}",
		"{{len \"\"}}"}, []string{"{{len}}", "{{len .Int}}", "{{len 3}}", "{{len .Nil}}", "{{len .True}}",
		"{{len .Float}}", "{{len 1 2}}", "{{len .List .Map}}", "a {{len .Float}}"}},
	{"functions: index", "values", []string{
		"{{index .List 0}} {{index .List 2}}", "{{index .Map \"a\"}}", "{{index .Map \"nope\"}}",
		"{{index .Map .Key}}", "{{index .Matrix 1 0}}", "{{index .Nested \"A\" \"B\" \"C\"}}",
		"{{index .People 0 \"Name\"}}", "{{index .Dashed \"a-b\"}} {{index .Dashed \"\"}} {{index .Dashed \"ü\"}}",
		"{{index .List}}", "{{index .Mixed 4}}",
		"{{index (split .Words \",\") 1}}",
		"{{index .EmptyMap \"x\"}}", "{{index .Map \"A\"}}",
	}, []string{
		"{{index}}", "{{index .List 4}}", "{{index .None 1}}", "{{index .List -1}}", "{{index .List \"a\"}}",
		"{{index .List 1.0}}", "{{index .List nil}}", "{{index .List .Nope}}", "{{index .Map 1}}",
		"{{index .Map nil}}", "{{index .Int 0}}", "{{index .Nil 0}}", "{{index .Nope 0}}", "{{index .Str 9}}",
		"{{index .Matrix 0 5}}", "{{index .List 0 0 0}}", "{{index .Map \"n\" \"b\"}}", "{{index .True 0}}",
		"{{index nil 0}}", "{{index .List true}}", "{{index .Map \"a\" \"b\"}}", "{{index .Nil \"a\"}}",
		"{{index . \"Nil\" \"x\"}}",
	}},
	{"functions: print println", "values", []string{
		"{{print}}|", "{{println}}|", "{{print 1 2 3}}", "{{print \"a\" \"b\"}}", "{{print \"a\" 1 2 \"b\" \"c\" 3}}",
		"{{println 1 \"a\" true}}|", "{{print .Nil}}", "{{print .Nope}}", "{{print .List .Map}}",
		"{{print 1.0 2.5 1e21 .Huge .Large}}", "{{print true false}}", "{{println .Str}}|", "{{print .Mixed}}",
		"{{print nil nil}}", "{{println nil \"a\"}}|", "{{print .Nested}}",
		"{{print .Str .Int .Str}}",
	}, nil},
	{"functions: urlquery", "values", []string{
		"{{urlquery .Url}}", "{{urlquery .Uni}}", "{{urlquery \"a\" 1 \"b\"}}", "{{urlquery .Html}}",
		"{{urlquery \"-_.~!*'()\"}}", "{{urlquery .Nope}}", "{{urlquery .List}}",
		"{{urlquery \"%\"}}",
	}, nil},
	{"functions: json prettyjson", "values", []string{
		"{{json .Str}}", "{{json .Map}}", "{{json .List}}", "{{json .Nil}}", "{{json .Nope}}", "{{json .Mixed}}",
		"{{json .Floats}}", "{{json .Html}}", "{{json .Uni}}", "{{json .Quoted}}", "{{json .Lines}}",
		"{{json .Int}} {{json .Long}} {{json .Float}} {{json .Whole}} {{json .Huge}}", "{{json .True}}",
		"{{json .EmptyMap}} {{json .None}}", "{{json \"\\u2028\\u2029\\u0001\\u007f\"}}",
		"{{json 1}} {{json 1.5}} {{json \"x\"}}", "{{json nil}}", "{{.Nested | json}}", "{{json .Dashed}}",
		"{{json (index .People 0)}}", "{{json \"a/b\"}}",
		"{{prettyjson .Map}}", "{{prettyjson .List}}", "{{prettyjson .Nested}}",
		"{{prettyjson .EmptyMap}} {{prettyjson .None}}", "{{prettyjson .Mixed}}", "{{prettyjson .Html}}",
		"{{prettyjson .Nil}}", "{{prettyjson .People}}", "{{json .Dashed | json}}",
	}, []string{"{{json}}", "{{json 1 2}}", "{{prettyjson}}", "{{json .Str.X}}", "{{prettyjson .Map .List}}"}},
	{"functions: upper lower title split join", "values", []string{
		"{{upper .Str}} {{lower \"ABC déÉ\"}} {{upper \"é\"}}", "{{title \"hello wide world\"}}",
		"{{title \"it's a-b c_d 1x\"}}", "{{title .Empty}}|", "{{split .Words \",\"}}",
		"{{range split .Words \",\"}}[{{.}}]{{end}}", "{{json (split .Words \",\")}}", "{{json (split \"\" \",\")}}",
		"{{json (split \"abc\" \"\")}}", "{{json (split \"a,,b,\" \",\")}}", "{{join .List \", \"}}",
		"{{join (split .Words \",\") \"-\"}}", "{{join .None \",\"}}|", "{{join .List \"\"}}",
		"{{index (split .Words \",\") 2}}", "{{upper (index .List 1)}}", "{{title \"mIXED\"}}",
		"{{len (split .Words \"x\")}}",
	}, []string{"{{upper}}", "{{upper 1}}", "{{upper .Int}}", "{{upper .Nil}}", "{{upper .Nope}}", "{{lower .List}}",
		"{{upper \"a\" \"b\"}}", "{{title 1.5}}", "{{split .Words}}", "{{split .Words 1}}", "{{split .Int \",\"}}",
		"{{join .List}}", "{{join .List 1}}", "{{upper true}}", "{{lower nil}}", "{{upper 'a'}}",
		"{{upper (len .Str)}}", "{{title .Map}}", "{{split .Words \",\" 2}}", "{{join}}",
		"{{upper (index .Numbers 0)}}"}},

	{"fmt: printing verbs of any value", "values", []string{
		"{{printf \"%v %v %v %v\" .Str .Int .Float .True}}", "{{printf \"%v %v\" .List .Map}}",
		"{{printf \"%v\" .Mixed}}", "{{printf \"%v\" .Nil}} {{printf \"%v\" .Nope}}", "{{printf \"%v\" .Nested}}",
		"{{printf \"%+v\" .Map}}",
		"{{printf \"%+v %+v %+v\" .Str .Int .True}}",
		"{{printf \"%#v\" .Float}}", "{{printf \"%%\"}}", "{{printf \"100%% of %s\" .Str}}", "{{printf \"plain\"}}",
		"{{printf \"\"}}|", "{{printf .Str}}",
		"{{printf \"%v\" .Whole}} {{printf \"%v\" .Huge}} {{printf \"%v\" .Large}}",
		"{{printf \"%v|%6v|%-6v|\" .Int .Int .Int}}", "{{printf \"%6v|%-6v|\" .Str .Str}}",
		"{{printf \"%8v|%-8v|\" .True .False}}", "{{printf \"%5v\" .Numbers}}",
		"{{printf \"%v\" .None}} {{printf \"%v\" .EmptyMap}}",
	}, []string{"{{printf}}", "{{printf 1}}", "{{printf .Int}}", "{{printf .Nil}}", "{{printf .List \"x\"}}",
		"{{printf .Nope}}", "{{printf nil}}"}},
	{"fmt: booleans", "values", []string{"{{printf \"%t %t\" .True .False}}", "{{printf \"%6t|%-6t|\" .True .False}}",
		"{{printf \"%t\" .Int}}", "{{printf \"%t\" .Str}}", "{{printf \"%d\" .True}}", "{{printf \"%s\" .True}}",
		"{{printf \"%q\" .False}}", "{{printf \"%t\" .Bools}}"}, nil},
	{"fmt: integers", "values", []string{
		"{{printf \"%d\" .Int}}", "{{printf \"%5d|%-5d|%05d\" .Int .Int .Int}}",
		"{{printf \"%+d % d %+d\" .Int .Int .Neg}}",
		"{{printf \"%06d|%-06d|%+06d\" .Neg .Neg .Int}}", "{{printf \"%.5d|%8.5d|%-8.5d|\" .Int .Int .Int}}",
		"{{printf \"%d\" .Numbers}}",
		"{{printf \"%03d\" .Numbers}}", "{{printf \"%d\" .Matrix}}", "{{printf \"%d\" .Map}}",
		"{{printf \"%d\" .Long}}",
		"{{printf \"%.0d|\" 0}}", "{{printf \"%+.3d\" 7}}", "{{printf \"% 5d|\" 7}}",
		"{{printf \"%2d\" 12345}}",
	}, nil},
	{"fmt: floating point", "values", []string{
		"{{printf \"%f\" .Float}}", "{{printf \"%.2f %.0f %.1f\" .Float .Float 0.25}}",
		"{{printf \"%8.3f|%-8.3f|%08.3f\" .Float .Float .Float}}",
		"{{printf \"%+.1f % .1f %+.1f\" .Float .Float -1.5}}",
		"{{printf \"%g %g\" 1e21 1e-7}}", "{{printf \"%g %g %g\" 100000.0 1000000.0 1e20}}",
		"{{printf \"%.3g %.10g %.3g\" 1234.5678 1234.5678 0.00001234}}", "{{printf \"%6.2f%%\" 99.5}}",
		"{{printf \"%f\" .Whole}}", "{{printf \"%g\" .Large}}", "{{printf \"%v\" .Floats}}",
		"{{printf \"%.1f\" .Floats}}", "{{printf \"%f\" .Int}}", "{{printf \"%d\" .Float}}",
		"{{printf \"%s\" .Float}}", "{{printf \"%010.2f|%-010.2f|\" -3.14159 3.14159}}",
		"{{printf \"%.f\" 2.5}}", "{{printf \"%9.f|\" 3.5}}", "{{printf \"%q\" .Float}}",
		"{{printf \"%.3v|%8v|%08v\" 3.14159 .Float .Float}}", "{{printf \"%+g\" .Float}}",
	}, nil},
	{"fmt: strings", "values", []string{
		"{{printf \"%s\" .Str}}", "{{printf \"%8s|%-8s|\" .Str .Str}}",
		"{{printf \"%.2s|%5.1s|%-5.1s|\" .Str .Str .Str}}", "{{printf \"%q\" .Str}} {{printf \"%q\" .Quoted}}",
		"{{printf \"%q\" .Lines}} {{printf \"%q\" .Uni}}", "{{printf \"%+q\" .Uni}}",
		"{{printf \"%#q %#q\" .Str .Quoted}}",
		"{{printf \"%3s|%.2s|%6s|\" .Uni \"世界x\" \"世界\"}}", "{{printf \"%s\" .List}}", "{{printf \"%q\" .List}}",
		"{{printf \"%10q|%-10q|\" .Str .Str}}", "{{printf \"%.0s|\" .Str}}",
		"{{printf \"%s\" .Empty}}|{{printf \"%q\" .Empty}}", "{{printf \"%s\" .Map}}", "{{printf \"%s\" .Mixed}}",
		"{{printf \"%5s\" .List}}",
		"{{printf \"%q\" (split .Words \",\")}}", "{{printf \"%#q\" \"a`b\"}}",
		"{{printf \"%s %s\" .Str \"x\" | printf \"<%s>\"}}", "{{printf \"%-5s|%5s|\" \"toolong\" \"toolong\"}}",
		"{{printf \"世%s界\" .Str}}",
	}, nil},
	{"fmt: format errors", "values", []string{
		"{{printf \"%d\" .Str}}", "{{printf \"%s\" .Int}}", "{{printf \"%z\" .Int}} {{printf \"%!\" .Int}}",
		"{{printf \"%d\"}}", "{{printf \"%d %s\" 1}}", "{{printf \"%d\" 1 2}}", "{{printf \"x\" 1 \"a\" nil}}",
		"{{printf \"%\"}} {{printf \"a%\" 1}}", "{{printf \"%d\" .Nil}} {{printf \"%s\" .Nope}}",
		"{{printf \"%z\" .List}}", "{{printf \"%z\" .Map}}", "{{printf \"%z\" .Nil}}", "{{printf \"%s\" .Numbers}}",
		"{{printf \"%d\" .List}}", "{{printf \"%-z|\" .Str}}", "{{printf \"%世\" 1}}", "{{printf \"%5\" 1}}",
		"{{printf \"%s %d %v\" .Str}}", "{{printf \"%d%%\" .Str}}",
		"{{printf \"%t\" .Nil}}", "{{printf \"%s\" .Bools}}", "{{printf \"%!d\" 1}}",
		"{{printf \"%e\" .Str}}",
		"{{printf \"%+s|%#s\" .Str .Str}}", "{{printf \"%d\" .Mixed}}",
	}, nil},

	{"errors in the middle of a text", "values", nil, []string{
		"first {{.Str}}\nsecond {{.Str.X}}\nthird", "a{{if .True}}{{index .List 5}}{{end}}",
		"{{range .List}}{{.X}}{{end}}", "{{range $i, $e := .List}}\n{{index $e 9}}{{end}}", "世界 {{.Int.X}}",
		"世\n界 {{len 3}}", "{{with .Str}}{{with .}}{{len .X}}{{end}}{{end}}", "{{printf \"%s\" (index .List 9)}}",
		"{{.Str | printf \"%d\" | len | len}}", "{{ index   .List   9 }}",
		"{{printf `%s %s %s` .Str.Nope `and more words`}}", "{{index .List 9 | printf \"%s\" | len | print}}",
		"{{if eq .Str 1 | not}}{{end}}", "{{$x := index .List 9}}", "{{if index .List 9}}{{end}}",
		"{{range index .List 9}}{{end}}", "{{with index .List 9}}{{end}}", "{{len (index .List 9)}}",
		"{{eq (len .Int) 3}}", "{{(len .Int)}}", "{{\"世界世界世界世界\" | len 3}}", "{{len `世界世界世界世界世界`.X}}",
		"{{upper .Str .Nested.A.B.C.D.E.F}}",
		"{{index .List 0x9}}", "{{index .List 'a'}}", "{{len (1 | not)}}", "{{index .List $.Str}}",
		"{{$v := 9}}{{index .List $v}}", "{{index $.Map .Int}}", "{{(index .People 0).Name.First}}",
		"{{$p := index .People 0}}{{$p.Name.First.Second}}", "{{len true}}", "{{len nil}}{{nope}}",
		"{{index .List 1e1}}", "{{index \"\\u00e9\" 7}}",
	}},

	{"a machine's configuration", "machine", []string{
		"{{.Name}} {{.DriverName}} {{.ConfigVersion}}", "{{.Driver.IPAddress}}",
		"{{.Driver.SSHUser}}@{{.Driver.IPAddress}}:{{.Driver.SSHPort}}", "{{json .Driver}}",
		"{{prettyjson .HostOptions.SwarmOptions}}", "{{.HostOptions.AuthOptions.StorePath}}", "{{.Driver.X.Y}}",
		"{{.HostOptions.EngineOptions.Labels}}", "{{join .HostOptions.EngineOptions.Labels \",\"}}",
		"{{range .HostOptions.EngineOptions.Labels}}{{.}}\n{{end}}",
		"{{range .HostOptions.EngineOptions.Labels}}{{$p := split . \"=\"}}{{index $p 0}}:{{index $p 1}} {{end}}",
		"{{range $k, $v := .Driver}}{{$k}}={{$v}}\n{{end}}",
		"{{if .HostOptions.EngineOptions.TlsVerify}}--tlsverify{{end}}",
		"{{with .HostOptions.AuthOptions}}{{index .ServerCertSANs 0}}{{end}}", "{{.HostOptions.EngineOptions.Dns}}",
		"{{json .HostOptions.EngineOptions.Env}}", "{{.HostOptions.SwarmOptions}}",
		"{{.HostOptions.SwarmOptions.IsSwarm}}", "{{printf \"%-10s %5d\" .Name .Driver.SSHPort}}",
		"{{if eq .DriverName \"generic\" \"none\"}}{{.DriverName | upper}}{{end}}",
		"{{len .HostOptions.AuthOptions.ServerCertSANs}}", "{{.Driver}}",
		"{{if and .Driver.IPAddress (not .HostOptions.SwarmOptions.IsSwarm)}}{{.Name}}\t{{.Driver.IPAddress}}{{end}}",
		"{{json .HostOptions}}", "{{prettyjson .}}",
		"export DOCKER_HOST=\"tcp://{{.Driver.IPAddress}}:{{.Driver.EnginePort}}\"",
		"{{range $i, $s := .HostOptions.AuthOptions.ServerCertSANs}}{{if $i}},{{end}}DNS:{{$s}}{{end}}",
		"{{index .HostOptions.EngineOptions.Labels 0 | printf \"%q\"}}",
		"{{range .HostOptions.EngineOptions.Dns}}{{.}}{{else}}no dns{{end}}",
	}, []string{"{{.Name.First}}", "{{.Driver.IPAddress.X}}",
		"{{.Driver.IPAddress", "{{json .Driver .Name}}", "{{.HostOptions.EngineOptions.Labels.0}}",
		"{{if .Name}}{{.Driver.IPAddress}}"}},
}

var functions = template.FuncMap{
	"json": func(v interface{}) (string, error) {
		text, err := json.Marshal(v)
		return string(text), err
	},
	"prettyjson": func(v interface{}) (string, error) {
		text, err := json.MarshalIndent(v, "", "    ")
		return string(text), err
	},
	"upper": strings.ToUpper,
	"lower": strings.ToLower,
	"title": strings.Title,
	"split": strings.Split,
	"join": func(list interface{}, separator string) (string, error) {
		var words []string
		switch list := list.(type) {
		case []string:
			words = list
		case []interface{}:
			for _, item := range list {
				words = append(words, item.(string))
			}
		}
		return strings.Join(words, separator), nil
	},
}

type result struct {
	Group    string  `json:"group"`
	Template string  `json:"template"`
	Data     string  `json:"data"`
	Output   *string `json:"output,omitempty"`
	Error    *string `json:"error,omitempty"`
}

// run gives what a template makes of a value.
func run(text string, value interface{}) (string, error) {
	parsed, err := template.New("").Funcs(functions).Parse(text)
	if err != nil {
		return "", err
	}
	var output bytes.Buffer
	err = parsed.Execute(&output, value)
	return output.String(), err
}

// plain turns a decoded value's json.Numbers into int and float64, and its lists into lists without spare room.
func plain(value interface{}) interface{} {
	switch value := value.(type) {
	case json.Number:
		if !strings.ContainsAny(value.String(), ".eE") {
			whole, err := value.Int64()
			check(err)
			return int(whole)
		}
		float, err := value.Float64()
		check(err)
		return float
	case []interface{}:
		list := make([]interface{}, len(value))
		for i, item := range value {
			list[i] = plain(item)
		}
		return list
	case map[string]interface{}:
		for key, item := range value {
			value[key] = plain(item)
		}
	}
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func encoded(value interface{}) string {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(value))
	return strings.TrimSpace(buffer.String())
}

func main() {
	var sets map[string]interface{}
	decoder := json.NewDecoder(strings.NewReader(data))
	decoder.UseNumber()
	check(decoder.Decode(&sets))

	var lines []string
	seen := map[string]bool{}
	wrong := 0
	add := func(part section, text string, fails bool) {
		output, err := run(text, plain(sets[part.data]))
		one := result{Group: part.name, Template: text, Data: part.data}
		if err != nil {
			message := err.Error()
			one.Error = &message
		} else {
			one.Output = &output
		}
		line := encoded(one)
		key := part.data + "\n" + text
		place := 0
		if err != nil && strings.Contains(err.Error(), " at <") {
			place = len(strings.SplitN(strings.SplitN(err.Error(), " at <", 2)[1], ">: ", 2)[0])
		}
		_, known := sets[part.data]
		if !known || place > 20 || fails != (err != nil) || seen[key] || !utf8.ValidString(output) {
			fmt.Fprintln(os.Stderr, "not as the table says:", line)
			wrong++
		}
		seen[key] = true
		lines = append(lines, line)
	}
	for _, part := range sections {
		for _, text := range part.good {
			add(part, text, false)
		}
		for _, text := range part.bad {
			add(part, text, true)
		}
	}
	if wrong > 0 {
		os.Exit(1)
	}
	_, source, _, _ := runtime.Caller(0)
	text := "{\"data\": " + data + ",\n\"cases\": [\n" + strings.Join(lines, ",\n") + "\n]}\n"
	check(os.WriteFile(filepath.Join(filepath.Dir(source), "cases.json"), []byte(text), 0o644))
	fmt.Println(len(lines), "cases")
}
