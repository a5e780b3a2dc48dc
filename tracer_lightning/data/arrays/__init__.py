"""Arrays of other modalities than images: series, spectra, and maps of any number of channels."""
