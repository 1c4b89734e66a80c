use super::*;

#[test]
fn demo() {
    let loaded = load(include_str!("../testdata/vocabulary.yaml"), "vocabulary.yaml", &NoSources);
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                println!("{warning}");
            }
            println!("{:#?}", loaded.config);
            println!("{}", loaded.hash);
            println!("{}", serde_json::to_string_pretty(&loaded.document).unwrap());
            println!("{}", serde_json::to_string_pretty(&schema()).unwrap().len());
        }
        Err(errors) => println!("{errors}"),
    }
}
