// @peculiar/x509 with what it needs loaded before it: import it from here only.
import "./reflect_metadata.ts";
export * from "@peculiar/x509";
