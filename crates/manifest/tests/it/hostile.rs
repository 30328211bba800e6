//! Files that nobody writes by hand: too large, too deep, broken in every place.

use proptest::prelude::*;
use tidegate_manifest::{read, read_bytes};

use crate::EVERY_KEY;

/// Reads whatever it is; every problem has to have its place in the file.
fn probe(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    let problems = match read_bytes(bytes, "tidegate.yaml") {
        Ok(checked) => checked.warnings,
        Err(problems) => {
            assert!(problems.has_errors(), "refused without an error");
            problems
        }
    };
    for problem in &problems {
        assert!((1..=lines.len()).contains(&problem.line), "{problem:?}");
        let line = lines[problem.line - 1];
        assert!(problem.column >= 1, "{problem:?}");
        assert!(problem.column <= line.chars().count() + 1, "{problem:?}");
        assert!(problem.span.start <= problem.span.end, "{problem:?}");
        assert!(problem.span.end <= text.len(), "{problem:?}");
        assert!(text.is_char_boundary(problem.span.start), "{problem:?}");
        assert!(!problem.message.is_empty(), "{problem:?}");
        assert!(problem.render(true).contains(problem.code), "{problem:?}");
    }
    assert!(!problems.render(false).contains('\u{1b}'));
}

/// One line for each number.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

fn codes(text: &str) -> Vec<&'static str> {
    read(text, "tidegate.yaml")
        .err()
        .unwrap_or_default()
        .iter()
        .map(|problem| problem.code)
        .collect()
}

#[test]
fn aliases_of_aliases_do_not_grow_without_bound() {
    let text = lines(30, |level| {
        let inner = if level == 0 { "lol".to_owned() } else { format!("*a{}", level - 1) };
        format!("x-{level}: &a{level} [{}]\n", vec![inner; 9].join(", "))
    });
    assert_eq!(codes(&text), ["too-large"]);
}

#[test]
fn an_alias_of_itself_is_refused() {
    assert_eq!(codes("project: &a [*a]\n"), ["yaml-syntax"]);
}

#[test]
fn nesting_is_bounded() {
    for text in [
        "[".repeat(200_000),
        "{a: ".repeat(200_000),
        "- ".repeat(8_000),
        "? ".repeat(8_000),
        lines(5_000, |depth| {
            format!(
                "{}a:
",
                " ".repeat(depth)
            )
        }),
        "[\n".repeat(100_000),
        "a: {\n".repeat(100_000),
    ] {
        let codes = codes(&text);
        assert_eq!(codes.len(), 1, "{codes:?}");
    }
}

#[test]
fn large_files_are_refused_or_read_in_bounded_time() {
    assert_eq!(codes(&"a: b\n".repeat(300_000)), ["too-large"]);
    assert_eq!(codes(&format!("project: {}\n", "a".repeat(20_000))), ["too-large"]);
    // Just below the limits: as many problems as can be told, and not one more.
    let keys = lines(40_000, |index| format!("key{index}: 1\n"));
    assert_eq!(codes(&keys).len(), 300);
    assert_eq!(codes(&"a: b\n".repeat(40_000)).len(), 300);
    let components = lines(600, |index| format!("  c{index}: {{ command: a }}\n"));
    assert_eq!(codes(&format!("project: a\ncomponents:\n{components}")), ["too-many"]);
    let chain = lines(499, |index| {
        let next = (index + 1) % 499;
        format!("  c{index}: {{ command: a, depends_on: [c{next}] }}\n")
    });
    assert_eq!(codes(&format!("project: a\ncomponents:\n{chain}")), ["dependency-cycle"]);
}

#[test]
fn what_is_no_text_is_told_by_its_line() {
    let problems = read_bytes(b"project: shop\nname: \xff\xfe\n", "tidegate.yaml").unwrap_err();
    insta::assert_snapshot!(problems.render(false), @r"
    error[not-utf8]: the file is not UTF-8 text
     --> tidegate.yaml:2:7
      |
    2 | name: ��
      |       ^
      = help: save it with the encoding UTF-8
    ");
    assert_eq!(codes("project: shop\0\ncomponents: {}\n"), ["control-character"]);
}

/// Text made of what YAML and manifests are made of.
#[test]
fn what_a_problem_quotes_does_nothing_to_a_terminal() {
    let text =
        "project: shop\n\"\\e[2J\\na\\u202eb\": 1\ncomponents:\n  api: {command: a, port: 1}\n";
    let problems = read(text, "tidegate.yaml").unwrap_err();
    let rendered = problems.render(false);
    assert!(rendered.contains(r"unknown key `\u{1b}[2J\na\u{202e}b`"), "{rendered}");
    assert!(!rendered.contains(['\u{1b}', '\u{202e}']), "{rendered}");
}

fn fragments() -> impl Strategy<Value = String> {
    let words = [
        "project",
        "components",
        "environments",
        "api",
        "command",
        "port",
        "route",
        "strategy",
        "canary",
        "steps",
        "bake",
        "rollback",
        "when",
        "env",
        "static",
        "true",
        "10%",
        "5m",
        "error_rate > 5%",
        "none",
        ": ",
        ":\n",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{ ",
        " }",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "!t ",
        "|\n",
        ">\n",
        "? ",
        "---\n",
        "...\n",
        "#",
        "\t",
        "\r\n",
        "\u{feff}",
        "é",
        "日本",
        "\0",
        "%",
        "@",
        "<<",
        "x-a",
        "..",
        "/",
        "~",
        "null",
        "0",
        "-1",
        "99999999999999999999",
        "\u{85}",
        "\u{2028}",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..60)
        .prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        probe(&bytes);
    }

    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        probe(text.as_bytes());
    }

    #[test]
    fn any_fragments_are_read_without_panic(text in fragments()) {
        probe(text.as_bytes());
    }

    #[test]
    fn a_damaged_manifest_is_read_without_panic(
        from in 0..EVERY_KEY.len(),
        length in 0..40_usize,
        insert in fragments(),
    ) {
        let mut bytes = EVERY_KEY.as_bytes().to_vec();
        let to = (from + length).min(bytes.len());
        bytes.splice(from..to, insert.bytes());
        probe(&bytes);
    }

    #[test]
    fn lines_that_are_lost_or_repeated_are_told_in_their_place(
        lost in prop::collection::vec(0..150_usize, 0..6),
        repeated in 0..150_usize,
    ) {
        let mut lines: Vec<&str> = EVERY_KEY.lines().collect();
        for index in lost {
            if index < lines.len() {
                lines.remove(index);
            }
        }
        if let Some(line) = lines.get(repeated).copied() {
            lines.insert(repeated, line);
        }
        probe(lines.join("\n").as_bytes());
        probe(lines.join("\r\n").as_bytes());
    }
}
