//! Rows that are refused: each with its column, its value and the reason, and never more than that row.

use super::{Bench, rejects, sums};

/// Imports `rows` under a header and expects these rejects, as `line column=value reason`.
#[track_caller]
fn check(entry: &str, header: &str, rows: &[&str], expect: &[&str]) {
    let csv = format!("{header}\n{}\n", rows.join("\n"));
    let bench = Bench::new(&[("a.csv", csv.as_bytes())]);
    let mapping = format!("source = \"t\"\n[[file]]\npath = \"a.csv\"\nkey = \"id\"\n{entry}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let report = runtime.block_on(bench.import(&mapping)).expect("an import");
    let seen = rejects(&report)
        .iter()
        .map(|row| {
            assert_eq!((row[0].as_str(), row[1].as_str()), ("rejected", "a.csv"));
            assert_eq!(row[6], rows[row[2].parse::<usize>().expect("a line") - 2]);
            format!("{} {}={} {}", row[2], row[3], row[4], row[5])
        })
        .collect::<Vec<_>>();
    for (seen, expect) in seen.iter().zip(expect) {
        assert!(seen.starts_with(expect), "\n{seen}\n{expect}");
    }
    assert_eq!(seen.len(), expect.len(), "{seen:#?}");
    let (read, _, _, rejected, _) = sums(&report);
    assert_eq!((read, rejected), (rows.len() as u64, expect.len() as u64));
}

#[test]
fn rows_and_ids() {
    let long = format!("{},x,1", "i".repeat(201));
    check(
        "kind = \"account\"\nfields = { name = \"name\", seats = \"seats\" }",
        "id,name,seats",
        &[
            "1,x,2", "2,x", "3,x,1,1", ",x,1", &long, "6,x\0,1", "7,x,-1", "8,x,1.5", "9,x,many", "?,x,1",
        ],
        &[
            "3 = 2 columns instead of the 3 of the header",
            "4 = 4 columns instead of the 3 of the header",
            "5 id= an id is empty",
            &format!("6 id={}… an id is longer than 200 characters", "i".repeat(80)),
            "7 name=x\0 contains the character U+0000",
            "8 seats=-1 negative",
            "9 seats=1.5 not a whole number",
            "10 seats=many not a number",
            "11 id=? `?` stands for",
        ],
    );
}

#[test]
fn words_and_truths() {
    check(
        "kind = \"account\"\n[file.fields]\ntier = { column = \"tier\", values = { A = \"low_touch\", B = \"strategic\" } }\ntrial = \"trial\"",
        "id,tier,trial",
        &["1,A,true", "2,C,true", "3,low_touch,true", "4,,yes", "5,,"],
        &[
            "3 tier=C not one of: A, B",
            "4 tier=low_touch not one of: A, B",
            "5 trial=yes not one of: true, True, TRUE, false",
        ],
    );
    check(
        "kind = \"contact\"\naccount = \"a\"\nfields = { role = \"role\" }",
        "id,a,role",
        &["1,x,champion", "2,x,chief", "3,,champion"],
        &[
            "3 role=chief not one of: champion, executive_sponsor",
            "4 a= the account is empty",
        ],
    );
}

#[test]
fn dates() {
    check(
        "kind = \"contract\"\naccount = \"id\"\nevent = \"start\"\n[file.fields]\nstart = \"start\"\nend = \"end\"\n[file.defaults]\ndates = [\"%Y-%m-%d\", \"%d/%m/%y\"]",
        "id,start,end",
        &[
            "1,2024-01-01,31/12/24",
            "2,2024-02-30,",
            "3,,",
            "4,2024-05-05,2024-05-04",
            "5,0204-01-01,",
            "6,2024-01-01 08:00:00,",
        ],
        &[
            "3 start=2024-02-30 fits none of the formats %Y-%m-%d | %d/%m/%y",
            "4 start= the time it happened is empty",
            "5 end=2024-05-04 lies before the start, 2024-05-05",
            "6 start=0204-01-01 lies in the year 204, outside 1900 to 2199",
        ],
    );
    check(
        "kind = \"ticket\"\naccount = \"id\"\nevent = \"o\"\nfields = { opened = \"o\", closed = \"c\", severity = \"s\", csat = \"q\" }",
        "id,o,c,s,q",
        &[
            "1,2024-01-01,2024-01-01 08:00:00,4,4.5",
            "2,2024-01-02T10:00:00Z,2024-01-02 09:59:59,1,",
            "3,2024-01-02,,0,",
            "4,2024-01-02,,5,",
            "5,2024-01-02,,,5.1",
            "6,tomorrow,,,",
        ],
        &[
            "3 c=2024-01-02 09:59:59 lies before the start, 2024-01-02T10:00:00Z",
            "4 s=0 outside 1 to 4",
            "5 s=5 outside 1 to 4",
            "6 q=5.1 outside 1 to 5",
            "7 o=tomorrow fits none of the formats",
        ],
    );
}

#[test]
fn amounts_and_numbers() {
    let entry = "kind = \"invoice\"\naccount = \"id\"\nevent = { value = \"2024-01-01\" }\n[file.defaults]\ncurrency = { column = \"cur\" }\nnumbers = { decimal = \",\", thousands = \".\" }\n[file.fields]\namount = \"amount\"";
    check(
        entry,
        "id,cur,amount",
        &[
            "1,EUR,\"1.234,50\"",
            "2,jpy,500",
            "3,EUR,\"1,234\"",
            "4,EUR,1.5",
            "5,EURO,5",
            "6,,5",
            "7,EUR,",
            "8,EUR,1e5",
        ],
        &[
            "4 amount=1,234 `1.234` cannot be held in EUR: at most 2 decimals",
            "5 amount=1.5 not a number with `,` before the decimals and `.` between thousands",
            "6 cur=EURO not an ISO 4217 currency code",
            "7 cur= not an ISO 4217 currency code",
            "9 amount=1e5 not a number",
        ],
    );
    check(
        "kind = \"survey\"\naccount = \"id\"\nevent = { value = \"2024-01-01\" }\nfields = { kind = \"k\", score = \"s\" }",
        "id,k,s",
        &["1,nps,10", "2,nps,11", "3,csat,0", "4,csat,0.0000001", "5,ces,1"],
        &[
            "3 s=11 outside 0 to 10",
            "4 s=0 outside 1 to 5",
            "5 s=0.0000001 `0.0000001` is out of range",
            "6 k=ces not one of: nps, csat",
        ],
    );
    check(
        "kind = \"movement\"\naccount = \"id\"\nevent = { value = \"2024-01-01\" }\nfields = { kind = \"k\", delta = { column = \"d\", currency = \"USD\", times = 12 } }",
        "id,k,d",
        &["1,new,10", "2,new,-1", "3,churn,5", "4,churn,-5"],
        &[
            "3 d=-1 a gain that takes revenue away",
            "4 d=5 a contraction or churn that adds revenue",
        ],
    );
}

#[test]
fn usage_and_rows_left_out() {
    check(
        "kind = \"usage\"\naccount = \"id\"\nskip = [{ column = \"x\", equals = [\"test\", \"demo\"], reason = \"not a customer\" }]\n[file.usage]\ngrain = \"week\"\nstart = \"w\"\nvalues = { seats = \"s\", invoice_days_late = \"l\" }",
        "id,w,s,l,x",
        &[
            "1,2024-01-01,5,,",
            "2,2024-01-01,,,",
            "3,2024-01-01,-1,,",
            "4,2024-01-01,,-3,",
            "5,2024-01-01,1,1,demo",
        ],
        &[
            "3 = no metric has a value",
            "4 s=-1 negative, but it counts something",
            "6 x=demo left out: not a customer",
        ],
    );
}
