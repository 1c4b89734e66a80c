//! A policy in the form that an adapter without a YAML parser embeds.
//!
//! A bundle is the tree of a policy file as JSON, compiled only from a file that is valid. References to variables
//! stay references, so that no secret is in it; they are resolved when the bundle is read, and then all of it is
//! validated once more by the same code.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

#[cfg(feature = "yaml")]
use super::load::VariablesOnly;
use super::load::{self, Loaded, Sources};
use super::report::{ConfigError, ConfigErrors, Position};
#[cfg(feature = "yaml")]
use super::target::Target;
use super::tree::{Entry, Node, Scalar, Value};

/// Changes when a bundle of today could no longer be read.
const FORMAT: u32 = 1;

/// What nothing plain starts with in YAML, and so marks a scalar that is text whatever it looks like.
const QUOTE: char = '\'';

/// Of everything in a bundle: messages name values by their path, and lines belong to the file.
const PLACE: Position = Position { line: 1, column: 1 };

/// Compiles the policy file `text`, called `name` in errors. The variables it names must be set, so that it can be
/// validated; their values are not kept. A bundle for no edge in particular ([`Target::Region`]) is for any.
///
/// # Errors
///
/// Everything that is wrong with the file, files among its variables included: there are none where a bundle runs; and
/// what would mean something else at `target`.
#[cfg(feature = "yaml")]
pub fn bundle(
    text: &str,
    name: &str,
    sources: &dyn Sources,
    target: Target,
) -> Result<(String, Loaded), ConfigErrors> {
    let (tree, _) = load::parse(text, name)?;
    let written = serde_json::to_string(&Written { format: FORMAT, policy: &tree });
    let loaded = load::check(text, name, &VariablesOnly(sources), target)?;
    Ok((written.expect("texts, lists and mappings by text always serialise"), loaded))
}

/// Reads what [`bundle`] compiled.
///
/// # Errors
///
/// A variable that is not set here, or has a value that makes no sense; bytes that are no bundle, or one of another
/// version.
pub fn from_bundle(bundle: &[u8], sources: &dyn Sources) -> Result<Loaded, ConfigErrors> {
    const NAME: &str = "bundle";
    let refuse = |message: String| ConfigErrors::new(NAME, vec![ConfigError { position: PLACE, message }]);
    let Read { format, policy } =
        serde_json::from_slice(bundle).map_err(|error| refuse(format!("this is no bundle: {error}")))?;
    if format != FORMAT {
        return Err(refuse(format!("format {format} cannot be read here, only {FORMAT}; compile it again")));
    }
    load::resolve(policy, Vec::new(), NAME, sources, |_, _| {})
}

#[cfg(feature = "yaml")]
#[derive(serde::Serialize)]
struct Written<'a> {
    format: u32,
    policy: &'a Node,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    format: u32,
    policy: Node,
}

#[cfg(feature = "yaml")]
impl serde::Serialize for Node {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_quoted() => {
                serializer.serialize_str(&format!("{QUOTE}{}", scalar.text()))
            }
            Value::Scalar(scalar) => serializer.serialize_str(scalar.text()),
            Value::Sequence(items) => serializer.collect_seq(items),
            Value::Mapping(entries) => {
                serializer.collect_map(entries.iter().map(|entry| (&entry.key, &entry.node)))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a list or a mapping")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                let quoted = text.strip_prefix(QUOTE);
                Ok(Value::Scalar(Scalar::new(quoted.unwrap_or(text).into(), quoted.is_some())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::Sequence(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, node)) = map.next_entry()? {
                    entries.push(Entry { key, position: PLACE, node });
                }
                Ok(Value::Mapping(entries))
            }
        }
        let value = deserializer.deserialize_any(Values)?;
        Ok(Node { position: PLACE, value, hidden: false })
    }
}

#[cfg(all(test, feature = "yaml"))]
mod tests {
    use super::*;
    use crate::config::{NoSources, load};

    struct Secret(&'static str);

    impl Sources for Secret {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "SECRET").then(|| self.0.to_owned())
        }

        fn file(&self, _: &str) -> Result<String, String> {
            Ok("host-of-a-file".into())
        }
    }

    const VOCABULARY: &str = include_str!("testdata/vocabulary.yaml");

    fn compiled(text: &str, sources: &dyn Sources) -> String {
        bundle(text, "f", sources, Target::Region).unwrap_or_else(|errors| panic!("{text}\n{errors}")).0
    }

    fn refusal(bundle: &[u8], sources: &dyn Sources) -> String {
        from_bundle(bundle, sources).unwrap_err().to_string()
    }

    #[test]
    fn a_bundle_is_the_same_policy_as_its_file() {
        struct Everything;
        impl Sources for Everything {
            fn variable(&self, _: &str) -> Option<String> {
                Some("a secret of more than thirty-two bytes, as HS256 wants it".into())
            }
            fn file(&self, _: &str) -> Result<String, String> {
                Err("none".into())
            }
        }
        for text in ["", "server: { workers: 0x2 }\n", VOCABULARY] {
            let file = load(text, "f", &Everything).unwrap_or_else(|errors| panic!("{errors}"));
            let read = from_bundle(compiled(text, &Everything).as_bytes(), &Everything).unwrap();
            assert_eq!(read.config, file.config);
            assert_eq!(read.document, file.document);
            assert_eq!(read.hash, file.hash);
        }
    }

    #[test]
    fn scalars_keep_whether_they_are_text() {
        let text = "routing:\n  services:\n    '1': { urls: 'http://one', timeout: \"${SECRET}\" }\n    s: { urls: 'http://two', retries: \"2\" }\n";
        let file = load(text, "f", &Secret("5s")).unwrap_err().to_string();
        let read = bundle(text, "f", &Secret("5s"), Target::Region).unwrap_err().to_string();
        assert_eq!(read, file);
        let bundle =
            compiled("routing: { services: { s: { urls: ['http://one'], retries: 2 } } }", &NoSources);
        let expected =
            r#"{"format":1,"policy":{"routing":{"services":{"s":{"urls":["'http://one"],"retries":"2"}}}}}"#;
        assert_eq!(bundle, expected);
    }

    #[test]
    fn variables_are_read_where_the_bundle_is() {
        let text = "routing:\n  services:\n    s:\n      urls: [\"http://${SECRET}\"]\n";
        let bundle = compiled(text, &Secret("build"));
        assert!(!bundle.contains("build"));
        let loaded = from_bundle(bundle.as_bytes(), &Secret("run")).unwrap();
        assert_eq!(loaded.config.services[0].endpoints[0].host, "run");
        let missing = "bundle:1:1: routing.services.s.urls[0]: the variable `SECRET` is not set; set it or write \
                       `${SECRET:-default}`";
        assert_eq!(refusal(bundle.as_bytes(), &NoSources), missing);
    }

    #[test]
    fn a_file_among_the_variables_is_refused() {
        let text = "routing:\n  services:\n    s:\n      urls: [\"http://${file:/host}\"]\n";
        assert_eq!(
            load(text, "f", &Secret("")).unwrap().config.services[0].endpoints[0].host,
            "host-of-a-file"
        );
        let refused = bundle(text, "f", &Secret(""), Target::Region).unwrap_err().to_string();
        let expected = "f:4:14: routing.services.s.urls[0]: `${file:/host}` cannot be read: there are no files \
                        where a bundle runs; name a variable";
        assert_eq!(refused, expected);
    }

    #[test]
    fn other_bytes_are_no_bundle() {
        let check =
            |bundle: &str, expected: &str| assert_eq!(refusal(bundle.as_bytes(), &NoSources), expected);
        check("", "bundle:1:1: this is no bundle: EOF while parsing a value at line 1 column 0");
        check(
            r#"{"format":2,"policy":{}}"#,
            "bundle:1:1: format 2 cannot be read here, only 1; compile it again",
        );
        check(
            r#"{"format":1,"policy":{"routing":1}}"#,
            "bundle:1:1: this is no bundle: invalid type: integer `1`, expected a text, a list or a mapping at line 1 column 33",
        );
    }
}
