//! The part of SOQL that is understood: fields, parents' fields, one level of child queries, `TYPEOF`, aggregates with
//! grouping, conditions, order, limit, offset.
//!
//! Does not: `HAVING`, semi-joins, `FIELDS(..)`, functions on dates, date literals such as `LAST_N_DAYS:30`. What is not
//! understood is refused as malformed, never guessed.

use serde_json::Value;

use super::check;

/// How deep conditions may be nested. The parser calls itself, so the depth must end somewhere.
const DEPTH_MAX: usize = 20;

/// A parsed query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    pub(super) select: Select,
    pub(super) object: String,
    pub(super) filter: Option<Expr>,
    pub(super) group: Vec<String>,
    pub(super) order: Vec<Order>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Select {
    /// `count()` without a field.
    Count,
    Items(Vec<Item>),
}

/// One thing selected.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Field(String),
    Children(Query),
    TypeOf {
        relation: String,
        /// Object and fields.
        whens: Vec<(String, Vec<String>)>,
        otherwise: Vec<String>,
    },
    Aggregate {
        function: Function,
        path: String,
        alias: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Count,
    CountDistinct,
    Sum,
    Average,
    Least,
    Greatest,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// A field, possibly of a parent, compared with values; more than one value only with `IN`.
    Is {
        path: String,
        op: Op,
        values: Vec<Literal>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    In,
    NotIn,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Text(String),
    Number(f64),
    Boolean(bool),
    /// A date or a datetime, in its stored form.
    Time(String),
}

impl Literal {
    pub(super) fn to_value(&self) -> Value {
        match self {
            Literal::Null => Value::Null,
            Literal::Text(text) | Literal::Time(text) => Value::from(text.as_str()),
            Literal::Number(number) => Value::from(*number),
            Literal::Boolean(truth) => Value::from(*truth),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    pub(super) path: String,
    pub(super) descending: bool,
    /// The vendor puts empty values first unless told otherwise, whatever the direction.
    pub(super) nulls_last: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
}

/// Reads a query, or says in the vendor's style what was not expected.
pub(super) fn parse(text: &str) -> Result<Query, String> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
    };
    let query = parser.query(Child::Allowed)?;
    match parser.peek() {
        None => Ok(query),
        Some(token) => Err(unexpected(Some(token))),
    }
}

/// Reads a condition alone, as it stands behind `WHERE`.
pub(super) fn condition(text: &str) -> Result<Expr, String> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
    };
    let expr = parser.any(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(unexpected(Some(token))),
    }
}

fn unexpected(token: Option<&Token>) -> String {
    match token {
        None => "unexpected token: '<EOF>'".to_owned(),
        Some(Token::Word(word)) => format!("unexpected token: '{word}'"),
        Some(Token::Quoted(text)) => format!("unexpected token: ''{text}''"),
        Some(Token::Sign(sign)) => format!("unexpected token: '{sign}'"),
    }
}

/// Signs, longer ones before those they begin with.
const SIGNS: &[&str] = &["!=", "<>", "<=", ">=", "(", ")", ",", "=", "<", ">"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (quoted, after) = quoted(rest)?;
            tokens.push(Token::Quoted(quoted));
            rest = after;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Token::Sign(sign));
            rest = rest.get(sign.len()..).unwrap_or("");
        } else {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_.:+-".contains(letter);
            let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("line 1:1 no viable alternative at character '{first}'"));
            }
            let (word, after) = rest.split_at(end);
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn quoted(rest: &str) -> Result<(String, &str), String> {
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' => return Ok((text, rest.get(at + 1..).unwrap_or(""))),
            '\\' => match letters.next().map(|(_, letter)| letter) {
                Some('n' | 'N') => text.push('\n'),
                Some('r' | 'R') => text.push('\r'),
                Some('t' | 'T') => text.push('\t'),
                Some(letter @ ('\'' | '"' | '\\' | '%' | '_')) => text.push(letter),
                Some(letter) => return Err(format!("Illegal string literal: invalid escape '\\{letter}'")),
                None => break,
            },
            letter => text.push(letter),
        }
    }
    Err("Illegal string literal: the closing quote is missing".to_owned())
}

/// Whether a query may hold child queries: only the outermost one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Child {
    Allowed,
    Refused,
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes_word(&mut self, wanted: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        self.at += usize::from(there);
        there
    }

    fn takes_sign(&mut self, wanted: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Sign(sign)) if *sign == wanted);
        self.at += usize::from(there);
        there
    }

    fn must_word(&mut self, wanted: &str) -> Result<(), String> {
        if self.takes_word(wanted) {
            Ok(())
        } else {
            Err(unexpected(self.peek()))
        }
    }

    fn must_sign(&mut self, wanted: &str) -> Result<(), String> {
        if self.takes_sign(wanted) {
            Ok(())
        } else {
            Err(unexpected(self.peek()))
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(word)) if word.starts_with(|letter: char| letter.is_ascii_alphabetic()) => Ok(word),
            token => Err(unexpected(token.as_ref())),
        }
    }

    fn number(&mut self) -> Result<usize, String> {
        let token = self.next();
        match &token {
            Some(Token::Word(word)) => word.parse().map_err(|_| unexpected(token.as_ref())),
            Some(Token::Quoted(_) | Token::Sign(_)) | None => Err(unexpected(token.as_ref())),
        }
    }

    fn query(&mut self, child: Child) -> Result<Query, String> {
        self.must_word("SELECT")?;
        let select = self.select(child)?;
        self.must_word("FROM")?;
        let object = self.name()?;
        let filter = if self.takes_word("WHERE") {
            Some(self.any(0)?)
        } else {
            None
        };
        let mut group = Vec::new();
        if self.takes_word("GROUP") {
            self.must_word("BY")?;
            group = self.names()?;
        }
        let mut order = Vec::new();
        if self.takes_word("ORDER") {
            self.must_word("BY")?;
            order.push(self.order()?);
            while self.takes_sign(",") {
                order.push(self.order()?);
            }
        }
        let limit = if self.takes_word("LIMIT") {
            Some(self.number()?)
        } else {
            None
        };
        let offset = if self.takes_word("OFFSET") { self.number()? } else { 0 };
        Ok(Query {
            select,
            object,
            filter,
            group,
            order,
            limit,
            offset,
        })
    }

    fn select(&mut self, child: Child) -> Result<Select, String> {
        let mut items = Vec::new();
        loop {
            match self.item(child)? {
                Some(item) => items.push(item),
                None if items.is_empty() => return Ok(Select::Count),
                None => return Err("unexpected token: 'count()'".to_owned()),
            }
            if !self.takes_sign(",") {
                return Ok(Select::Items(items));
            }
        }
    }

    /// One item; nothing for `count()`.
    fn item(&mut self, child: Child) -> Result<Option<Item>, String> {
        if child == Child::Allowed && self.takes_sign("(") {
            let query = self.query(Child::Refused)?;
            self.must_sign(")")?;
            return Ok(Some(Item::Children(query)));
        }
        let name = self.name()?;
        if name.eq_ignore_ascii_case("typeof") {
            return self.type_of().map(Some);
        }
        if !self.takes_sign("(") {
            return Ok(Some(Item::Field(name)));
        }
        let function = match name.to_ascii_lowercase().as_str() {
            "count" => Function::Count,
            "count_distinct" => Function::CountDistinct,
            "sum" => Function::Sum,
            "avg" => Function::Average,
            "min" => Function::Least,
            "max" => Function::Greatest,
            _ => return Err(format!("unexpected token: '{name}'")),
        };
        if function == Function::Count && self.takes_sign(")") {
            return Ok(None);
        }
        let path = self.name()?;
        self.must_sign(")")?;
        let is_alias = matches!(self.peek(), Some(Token::Word(word)) if !word.eq_ignore_ascii_case("FROM"));
        let alias = if is_alias { Some(self.name()?) } else { None };
        Ok(Some(Item::Aggregate { function, path, alias }))
    }

    fn type_of(&mut self) -> Result<Item, String> {
        let relation = self.name()?;
        let mut whens = Vec::new();
        while self.takes_word("WHEN") {
            let object = self.name()?;
            self.must_word("THEN")?;
            whens.push((object, self.names()?));
        }
        let otherwise = if self.takes_word("ELSE") {
            self.names()?
        } else {
            Vec::new()
        };
        self.must_word("END")?;
        Ok(Item::TypeOf {
            relation,
            whens,
            otherwise,
        })
    }

    fn names(&mut self) -> Result<Vec<String>, String> {
        let mut names = vec![self.name()?];
        while self.takes_sign(",") {
            names.push(self.name()?);
        }
        Ok(names)
    }

    fn order(&mut self) -> Result<Order, String> {
        let path = self.name()?;
        let descending = self.takes_word("DESC");
        if !descending {
            self.takes_word("ASC");
        }
        let nulls_last = self.takes_word("NULLS") && {
            let last = self.takes_word("LAST");
            if !last {
                self.must_word("FIRST")?;
            }
            last
        };
        Ok(Order {
            path,
            descending,
            nulls_last,
        })
    }

    fn any(&mut self, depth: usize) -> Result<Expr, String> {
        if depth > DEPTH_MAX {
            return Err("the conditions are nested too deeply".to_owned());
        }
        let mut parts = vec![self.every(depth)?];
        while self.takes_word("OR") {
            parts.push(self.every(depth)?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expr::Or(parts)
        })
    }

    fn every(&mut self, depth: usize) -> Result<Expr, String> {
        let mut parts = vec![self.one(depth)?];
        while self.takes_word("AND") {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expr::And(parts)
        })
    }

    fn one(&mut self, depth: usize) -> Result<Expr, String> {
        if depth > DEPTH_MAX {
            return Err("the conditions are nested too deeply".to_owned());
        }
        if self.takes_word("NOT") {
            return Ok(Expr::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes_sign("(") {
            let inner = self.any(depth + 1)?;
            self.must_sign(")")?;
            return Ok(inner);
        }
        let path = self.name()?;
        let op = self.op()?;
        let values = if matches!(op, Op::In | Op::NotIn) {
            self.set()?
        } else {
            vec![self.literal()?]
        };
        Ok(Expr::Is { path, op, values })
    }

    fn op(&mut self) -> Result<Op, String> {
        if self.takes_word("IN") {
            return Ok(Op::In);
        }
        if self.takes_word("LIKE") {
            return Ok(Op::Like);
        }
        if self.takes_word("NOT") {
            self.must_word("IN")?;
            return Ok(Op::NotIn);
        }
        let token = self.next();
        match token {
            Some(Token::Sign("=")) => Ok(Op::Equal),
            Some(Token::Sign("!=" | "<>")) => Ok(Op::NotEqual),
            Some(Token::Sign("<")) => Ok(Op::Less),
            Some(Token::Sign("<=")) => Ok(Op::LessOrEqual),
            Some(Token::Sign(">")) => Ok(Op::Greater),
            Some(Token::Sign(">=")) => Ok(Op::GreaterOrEqual),
            token => Err(unexpected(token.as_ref())),
        }
    }

    fn set(&mut self) -> Result<Vec<Literal>, String> {
        self.must_sign("(")?;
        let mut values = vec![self.literal()?];
        while self.takes_sign(",") {
            values.push(self.literal()?);
        }
        self.must_sign(")")?;
        Ok(values)
    }

    fn literal(&mut self) -> Result<Literal, String> {
        let token = self.next();
        let word = match token {
            Some(Token::Quoted(text)) => return Ok(Literal::Text(text)),
            Some(Token::Word(ref word)) => word,
            Some(Token::Sign(_)) | None => return Err(unexpected(token.as_ref())),
        };
        match word.to_ascii_lowercase().as_str() {
            "null" => return Ok(Literal::Null),
            "true" => return Ok(Literal::Boolean(true)),
            "false" => return Ok(Literal::Boolean(false)),
            _ => {}
        }
        if let Ok(number) = word.parse::<f64>()
            && number.is_finite()
        {
            return Ok(Literal::Number(number));
        }
        if let Some(at) = check::datetime(word) {
            return Ok(Literal::Time(check::stamp(at)));
        }
        match word.parse::<jiff::civil::Date>() {
            Ok(date) if word.len() == 10 => Ok(Literal::Time(date.to_string())),
            Ok(_) | Err(_) => Err(unexpected(token.as_ref())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Expr, Function, Item, Literal, Op, Select, parse};

    #[test]
    fn and_binds_closer_than_or() {
        let query = parse("select Id from Account where Name = 'a' or Name = 'b' and Type != null").expect("a query");
        let Some(Expr::Or(parts)) = query.filter else {
            panic!("or at the top")
        };
        assert!(matches!(parts.as_slice(), [Expr::Is { .. }, Expr::And(_)]));
    }

    #[test]
    fn quotes_inside_a_text_are_escaped() {
        let query = parse(r"SELECT Id FROM Account WHERE Name = 'O\'Neil \\ Sons'").expect("a query");
        let Some(Expr::Is { values, op, .. }) = query.filter else {
            panic!("one condition")
        };
        assert_eq!(
            (op, values),
            (Op::Equal, vec![Literal::Text(r"O'Neil \ Sons".to_owned())])
        );
    }

    #[test]
    fn count_without_a_field_is_a_count() {
        assert_eq!(
            parse("SELECT COUNT() FROM Task").expect("a query").select,
            Select::Count
        );
    }

    #[test]
    fn child_queries_type_of_and_aggregates_are_items() {
        let items = |text: &str| match parse(text).expect("a query").select {
            Select::Items(items) => items,
            Select::Count => panic!("a count"),
        };
        let children = items("select FirstName,(select Name from Opportunities) from Contact");
        assert!(matches!(children.as_slice(), [Item::Field(_), Item::Children(_)]));
        let kinds = items("SELECT Id, TYPEOF Who WHEN Contact THEN LastName, Email ELSE Id END, Subject FROM Event");
        assert!(matches!(&kinds[1], Item::TypeOf { relation, whens, .. } if relation == "Who" && whens.len() == 1));
        let summed = items("SELECT CampaignId, SUM(Amount) total FROM Opportunity GROUP BY CampaignId");
        let sum = Item::Aggregate {
            function: Function::Sum,
            path: "Amount".to_owned(),
            alias: Some("total".to_owned()),
        };
        assert_eq!(summed.get(1), Some(&sum));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "SELECT Id",
            "SELECT Id FROM Account WHERE Name = 'x",
            "SELECT Id, count() FROM Account",
            "SELECT Id, (SELECT Id, (SELECT Id FROM Tasks) FROM Contacts) FROM Account",
            "SELECT Id FROM Account HAVING Name = 'x'",
            "DELETE",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = format!(
            "SELECT Id FROM Account WHERE {}Name = 'x'{}",
            "(".repeat(99),
            ")".repeat(99)
        );
        assert!(parse(&deep).is_err());
    }
}
