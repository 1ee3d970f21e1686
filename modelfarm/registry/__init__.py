"""Registry: artifacts to an OCI registry and back, by digest, whole and verified or not at all.

`line` speaks to a registry, `login` says with which rights, `faults` what goes wrong. `transfer` moves blobs, `uploads`
remembers those on their way, `shelf` has manifests and tags, `attachments` hangs one thing on another; `parcels`
carries files between the machines of a farm. `oci` has the documents, `package` an artifact as such documents;
`keys` and `signatures` vouch for them. `publishing` and `fetching` are what users ask for.
"""
