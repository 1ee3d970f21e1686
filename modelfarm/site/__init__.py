"""The site: static pages about a store, for a browser and without a network."""
