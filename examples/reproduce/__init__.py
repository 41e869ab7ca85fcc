"""What the scripts that repeat published tables share: cells that outlive a kill, pages, pictures, data, figures."""
