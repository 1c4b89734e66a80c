//! Scalars and their types in the core schema (YAML 1.2.2 section 10.3.2).

/// Text that has a type only where one is asked for: `1.2` is a number, and a version where text is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Scalar {
    text: String,
    /// In quotes, a block, or tagged `!!str`: always a string.
    quoted: bool,
    /// What the file says, where `text` was expanded from variables: errors show this instead.
    written: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) enum Typed<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
}

impl Scalar {
    pub(in crate::config) fn new(text: String, quoted: bool) -> Scalar {
        Scalar { text, quoted, written: None }
    }

    #[cfg(feature = "yaml")]
    pub(in crate::config) fn plain(text: String) -> Scalar {
        Scalar::new(text, false)
    }

    #[cfg(feature = "yaml")]
    pub(in crate::config) fn is_quoted(&self) -> bool {
        self.quoted
    }

    pub(in crate::config) fn text(&self) -> &str {
        &self.text
    }

    #[cfg(feature = "yaml")]
    pub(in crate::config) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn expand_to(&mut self, text: String) {
        self.written = Some(std::mem::replace(&mut self.text, text));
    }

    /// `message` without what a variable held: that may be a secret, and messages end up in logs.
    pub(in crate::config) fn without_expansion(&self, message: String) -> String {
        match &self.written {
            Some(written) if !self.text.is_empty() => message.replace(&self.text, written),
            _ => message,
        }
    }

    pub(in crate::config) fn is_null(&self) -> bool {
        self.typed() == Typed::Null
    }

    pub(in crate::config) fn typed(&self) -> Typed<'_> {
        let text = self.text.as_str();
        if self.quoted {
            return Typed::Text(text);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Typed::Null,
            "true" | "True" | "TRUE" => Typed::Bool(true),
            "false" | "False" | "FALSE" => Typed::Bool(false),
            _ => integer(text)
                .map(Typed::Integer)
                .or_else(|| float(text).map(Typed::Float))
                .unwrap_or(Typed::Text(text)),
        }
    }
}

fn integer(text: &str) -> Option<i128> {
    // `from_str_radix` takes a sign of its own after the prefix, which YAML does not.
    let digits = |digits: &str, radix| match digits.starts_with(['+', '-']) {
        true => None,
        false => i128::from_str_radix(digits, radix).ok(),
    };
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, 16);
    }
    text.parse().ok()
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    // Rust also reads `inf`, `infinity` and `nan`, which are text here.
    let is_number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.bytes().any(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}
