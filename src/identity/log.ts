// Where the lines of this folder go.

/** `Logger.log` fits. */
export type IdentityLog = (
  level: "debug" | "info" | "warn" | "error",
  scope: string,
  message: string,
  fields?: Readonly<Record<string, string | number | boolean>>,
) => void;
