"""From strings to tokens to ids."""
