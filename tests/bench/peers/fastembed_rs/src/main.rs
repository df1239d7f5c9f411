//! fastembed (Rust) over a local folder, in the words of `protocol.py`. Arguments: the model's folder, a graph in it.
//!
//! Its runtime library is the one that ORT_DYLIB_PATH names; its threads are its own choice.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use fastembed::{OnnxSource, RerankInitOptionsUserDefined, TextRerank, TokenizerFiles, UserDefinedRerankingModel};
use serde_json::{Value, json};

fn main() {
    if let Err(error) = serve() {
        println!("{}", json!({"missing": error.to_string()}));
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("no folder")?;
    let folder = Path::new(&folder);
    let graph = arguments.next().ok_or("no graph")?;
    let read = |name: &str| std::fs::read(folder.join(name));
    let files = TokenizerFiles {
        tokenizer_file: read("tokenizer.json")?,
        config_file: read("config.json")?,
        special_tokens_map_file: read("special_tokens_map.json").unwrap_or_else(|_| b"{}".to_vec()),
        tokenizer_config_file: br#"{"model_max_length": 512, "pad_token": "[PAD]"}"#.to_vec(),
    };
    let model = UserDefinedRerankingModel::new(OnnxSource::File(folder.join(graph)), files);
    let mut model = TextRerank::try_new_from_user_defined(model, RerankInitOptionsUserDefined::default())?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", json!({"ready": "fastembed for Rust, 5"}))?;
    for line in std::io::stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let pairs = line["pairs"].as_array().ok_or("no pairs")?;
        let query = pairs[0][0].as_str().ok_or("no query")?;
        let documents: Vec<&str> = pairs.iter().filter_map(|pair| pair[1].as_str()).collect();
        let started = Instant::now();
        let ranked = model.rerank(query, &documents, false, None)?;
        let seconds = started.elapsed().as_secs_f64();
        let mut logits = vec![f32::NAN; documents.len()];
        ranked.iter().for_each(|one| logits[one.index] = one.score);
        writeln!(out, "{}", json!({"seconds": seconds, "logits": logits}))?;
    }
    Ok(())
}
