//! Reading rows, also when the file arrives in small pieces.

use std::io::Read;

use super::super::rows::{Next, RowLimits, Rows};

/// A reader that hands out a few bytes at a time.
struct Drops<'a>(&'a [u8], usize);

impl Read for Drops<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(self.0.len()).min(into.len());
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

/// Every row as `line: cell|cell`, a bad one as `line! reason`; the same for every size of piece.
#[track_caller]
fn check(text: &[u8], limit: usize, expect: &[&str]) {
    for piece in [1, 2, 3, 7, 100_000] {
        let limits = RowLimits {
            field_bytes: limit,
            row_bytes: limit * 4,
        };
        let mut rows = Rows::new(Drops(text, piece), b',', limits);
        let mut seen = Vec::new();
        loop {
            match rows.next().expect("memory can be read") {
                Next::End => break,
                Next::Bad(reason) => seen.push(format!("{}! {reason}", rows.line())),
                Next::Row => {
                    let cells = (0..rows.width())
                        .map(|index| String::from_utf8(rows.cell(index).into_owned()).expect("text"))
                        .collect::<Vec<_>>();
                    seen.push(format!("{}: {}", rows.line(), cells.join("|")));
                }
            }
        }
        assert_eq!(seen, expect, "in pieces of {piece}");
        assert_eq!(rows.bytes(), text.len() as u64);
    }
}

#[test]
fn rows_end_with_any_line_end_and_blank_lines_are_none() {
    check(
        b"a,b\r\n1,2\n\r\n\n3,\n,4",
        100,
        &["1: a|b", "2: 1|2", "5: 3|", "6: |4"],
    );
    check(b"", 100, &[]);
    check(b"\n\n", 100, &[]);
}

#[test]
fn quotes_hold_delimiters_line_ends_and_doubled_quotes() {
    check(
        b"\"a,b\",\"c\"\"d\"\r\n\"x\ny\",\"\"\n5\" pipe,z\n\"\"\"\",q",
        100,
        &["1: a,b|c\"d", "2: x\ny|", "4: 5\" pipe|z", "5: \"|q"],
    );
}

#[test]
fn a_quote_that_is_never_closed_costs_its_row_only() {
    check(
        b"a,b\n\"x,1\ny,2\nz,3\n",
        100,
        &[
            "1: a|b",
            "2! the quote opened on line 2 is not closed before the end of the file: close it",
            "3: y|2",
            "4: z|3",
        ],
    );
    let mut long = b"a,\"x\n".to_vec();
    long.extend(b"1,2\n".repeat(30));
    let mut expect = vec![
        "1! the quote opened on line 1 is not closed within 64 bytes: close it, or raise `max_field_bytes`".to_owned(),
    ];
    expect.extend((2..32).map(|line| format!("{line}: 1|2")));
    check(&long, 64, &expect.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn text_behind_a_closing_quote_is_refused() {
    check(
        b"\"a\" b,1\nc,2\n\"d\ne\"f,3\ng,4",
        100,
        &[
            "1! text follows the closing quote of the field that opened on line 1: double the quotes inside a quoted field",
            "2: c|2",
            "3! text follows the closing quote of the field that opened on line 3: double the quotes inside a quoted field",
            "4: e\"f|3",
            "5: g|4",
        ],
    );
}

#[test]
fn an_endless_line_is_left_out_without_being_kept() {
    let mut text = b"a,b\n".to_vec();
    text.extend(b"x".repeat(1_000_000));
    text.extend(b",1\nc,2\n");
    let limits = RowLimits {
        field_bytes: 1_000,
        row_bytes: 2_000,
    };
    let mut rows = Rows::new(&text[..], b',', limits);
    assert_eq!(rows.next().expect("a row"), Next::Row);
    assert!(matches!(rows.next().expect("a row"), Next::Bad(_)));
    assert!(rows.raw().len() < 1_000_000);
    assert_eq!(rows.next().expect("a row"), Next::Row);
    assert_eq!((rows.line(), rows.cell(0).as_ref()), (3, &b"c"[..]));
    assert_eq!(rows.bytes(), text.len() as u64);
    check(
        b"aaaaaaaaaa,b\nc,d",
        4,
        &[
            "1! a field is longer than 4 bytes: shorten it, or raise `max_field_bytes`",
            "2: c|d",
        ],
    );
}
