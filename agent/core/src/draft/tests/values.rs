//! How values, names and prices come out.

use super::*;
use crate::money::Money;
use crate::number::Micro;

#[test]
fn values_are_written_one_way() {
    let eur = "EUR".parse().expect("a currency");
    let day = "2026-09-30".parse().expect("a day");
    for (value, text, machine) in [
        (FigureValue::Count(1_240_000), "1,240,000", "1240000"),
        (FigureValue::Count(0), "0", "0"),
        (FigureValue::Count(-1_000), "-1,000", "-1000"),
        (FigureValue::Percent(Micro(124_000)), "12.4%", "0.124"),
        (FigureValue::Percent(Micro(-1_000_000)), "-100%", "-1"),
        (FigureValue::Percent(Micro(-400)), "0%", "-0.0004"),
        (FigureValue::Percent(Micro(999_600)), "100%", "0.9996"),
        (
            FigureValue::Money(Money::new(1_234_560, eur)),
            "EUR 12,345.60",
            "EUR 12345.60",
        ),
        (FigureValue::Score(Micro(4_350_000)), "4.4", "4.35"),
        (FigureValue::Score(Micro::whole(72)), "72", "72"),
        (FigureValue::Date(day), "30 September 2026", "2026-09-30"),
        (FigureValue::Days(1), "1 day", "1"),
        (FigureValue::Days(45), "45 days", "45"),
        (FigureValue::Minutes(Micro::whole(38)), "38 minutes", "38"),
        (FigureValue::Minutes(Micro::whole(125)), "2 h 5 min", "125"),
        (FigureValue::Minutes(Micro::whole(60 * 24 * 3)), "3 days", "4320"),
        (FigureValue::Months(12), "12 months", "12"),
        (FigureValue::Text("  Plan\n\u{200B}A ".to_owned()), "Plan A", "Plan A"),
    ] {
        assert_eq!(value.text(), text);
        assert_eq!(value.machine(), machine);
    }
    assert_eq!(FigureValue::Percent(Micro(-32_000)).show(Show::Size), "3.2%");
    assert_eq!(FigureValue::Money(Money::new(-150, eur)).show(Show::Size), "EUR 1.50");
    assert_eq!(FigureValue::Money(Money::new(150, eur)).show(Show::Signed), "EUR +1.50");
    assert_eq!(FigureValue::Date(day).show(Show::Signed), "30 September 2026");
}

#[test]
fn periods_are_named_by_their_quarter() {
    let period = |from: &str, to: &str| Period {
        from: from.parse().expect("a day"),
        to: to.parse().expect("a day"),
    };
    assert_eq!(period("2026-07-01", "2026-09-30").name(), "Q3 2026");
    assert_eq!(period("2026-01-01", "2026-03-31").name(), "Q1 2026");
    assert_eq!(
        period("2026-07-01", "2026-08-15").name(),
        "1 July 2026 to 15 August 2026"
    );
}

#[test]
fn escaped_text_reads_as_itself() {
    assert_eq!(
        escape_markdown("Northwind, Inc. - GmbH & Co"),
        "Northwind, Inc. - GmbH \\& Co"
    );
    assert_eq!(escape_markdown("- 1"), "\\- 1");
    assert_eq!(escape_markdown("12. x"), "12\\. x");
    assert_eq!(escape_markdown("https://a.b www.c.d"), "https\\://a.b www\\.c.d");
    assert_eq!(escape_markdown("a\n\n# b"), "a \\# b");
    assert_eq!(
        escape_html("<a href='x'>&\"</a>"),
        "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;"
    );
}

#[test]
fn prices_follow_the_agreement() {
    let eur = "EUR".parse().expect("a currency");
    let arr = Money::new(16_000_000, eur);
    assert_eq!(proposed_arr(arr, None), Some(arr));
    assert_eq!(
        proposed_arr(arr, Some(Micro(30_000))),
        Some(Money::new(16_480_000, eur))
    );
    assert_eq!(
        proposed_arr(Money::new(50, eur), Some(Micro(10_000))),
        Some(Money::new(50, eur))
    );
    assert_eq!(term_total(arr, 18), Some(Money::new(24_000_000, eur)));
    assert_eq!(term_total(Money::new(i64::MAX, eur), 24), None);
    assert_eq!(uplift(arr, Money::new(16_480_000, eur)), Some(Micro(30_000)));
    assert_eq!(uplift(Money::new(0, eur), arr), None);
}
