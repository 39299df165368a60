//! Config files: `config.json`, `generation_config.json` and training TOML are obeyed or refused.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use promptist::config_file::ConfigFile;
use promptist::decoding::RawDecodingSettings;
use promptist::gpt2::Gpt2Config;
use promptist::train::config::SftConfig;

fuzz_target!(|text: &str| {
    if let Ok(config) = Gpt2Config::from_json(text) {
        assert!(config.head_dim() * config.n_head == config.n_embd);
    }
    if let Ok(raw) = RawDecodingSettings::from_generation_config(Path::new("generation_config.json"), text)
        && let Ok(settings) = raw.resolve()
    {
        assert!(settings.num_beams % settings.num_beam_groups == 0);
    }
    if let Ok(config) = SftConfig::from_toml(text) {
        let again = SftConfig::from_toml(&config.to_toml().expect("has a TOML form"));
        assert_eq!(again.expect("reads what it wrote"), config);
    }
});
