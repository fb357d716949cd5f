// What the FIPS provider needs of libcrypto; all of it is there since 3.0.

export const FIPS_SYMBOLS = {
  OSSL_LIB_CTX_new: { parameters: [], result: "pointer" },
  OSSL_LIB_CTX_free: { parameters: ["pointer"], result: "void" },
  BIO_new_mem_buf: { parameters: ["buffer", "i32"], result: "pointer" },
  BIO_free: { parameters: ["pointer"], result: "i32" },
  NCONF_new_ex: { parameters: ["pointer", "pointer"], result: "pointer" },
  NCONF_load_bio: { parameters: ["pointer", "pointer", "buffer"], result: "i32" },
  NCONF_free: { parameters: ["pointer"], result: "void" },
  CONF_modules_load: { parameters: ["pointer", "pointer", "u64"], result: "i32" },
  OSSL_PROVIDER_load: { parameters: ["pointer", "buffer"], result: "pointer" },
  OSSL_PROVIDER_unload: { parameters: ["pointer"], result: "i32" },
  OSSL_PROVIDER_self_test: { parameters: ["pointer"], result: "i32" },
  OSSL_PROVIDER_get_params: { parameters: ["pointer", "buffer"], result: "i32" },
  EVP_set_default_properties: { parameters: ["pointer", "buffer"], result: "i32" },
  EVP_CIPHER_fetch: { parameters: ["pointer", "buffer", "buffer"], result: "pointer" },
  EVP_CIPHER_free: { parameters: ["pointer"], result: "void" },
  EVP_MD_fetch: { parameters: ["pointer", "buffer", "buffer"], result: "pointer" },
  EVP_MD_free: { parameters: ["pointer"], result: "void" },
  EVP_KDF_fetch: { parameters: ["pointer", "buffer", "buffer"], result: "pointer" },
  EVP_KDF_free: { parameters: ["pointer"], result: "void" },
  EVP_KEYEXCH_fetch: { parameters: ["pointer", "buffer", "buffer"], result: "pointer" },
  EVP_KEYEXCH_free: { parameters: ["pointer"], result: "void" },
  EVP_SIGNATURE_fetch: { parameters: ["pointer", "buffer", "buffer"], result: "pointer" },
  EVP_SIGNATURE_free: { parameters: ["pointer"], result: "void" },
  EVP_KEM_fetch: { parameters: ["pointer", "buffer", "buffer"], result: "pointer" },
  EVP_KEM_free: { parameters: ["pointer"], result: "void" },
  ERR_get_error_all: {
    parameters: ["buffer", "buffer", "buffer", "buffer", "buffer"],
    result: "u64",
  },
  ERR_reason_error_string: { parameters: ["u64"], result: "pointer" },
  ERR_clear_error: { parameters: [], result: "void" },
} as const satisfies Deno.ForeignLibraryInterface;

export type FipsLibrary = Deno.DynamicLibrary<typeof FIPS_SYMBOLS>;
export type FipsSymbols = FipsLibrary["symbols"];
