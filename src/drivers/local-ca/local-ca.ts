// Certificates for names that no public authority would sign (`*.localhost`, names not yet in DNS):
// a small CA of this installation's own, made once with OpenSSL. A certificate that a person put
// into the certificates folder always wins, and a bad one is refused before the edge sees it.

import { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { messageOf } from "../../kernel/error.ts";
import { runOrThrow } from "../exec.ts";
import { readText, writeWhole } from "../files.ts";

export interface LocalCaOptions {
  /** Key and certificate of the CA, and the certificates it signed. */
  readonly dir: string;
  /** Where people put `<host>.pem` (chain, then key); a leading `*.` is written `_wildcard.`. */
  readonly givenDir: string;
  /** The list that HAProxy reads. */
  readonly listFile: string;
  /** A host that is not offered HTTP/2: what breaks off there must be seen to break off. */
  readonly http1Host?: string | undefined;
  readonly now: () => number;
}

const DAY_MS = 24 * 3_600_000;
const CA_DAYS = 3_650;
const LEAF_DAYS = 397;
const RENEW_BEFORE_DAYS = 30;
const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"] as const;

export class LocalCa {
  readonly #options: LocalCaOptions;

  constructor(options: LocalCaOptions) {
    this.#options = options;
  }

  /** The certificate a browser has to trust. */
  get rootFile(): string {
    return join(this.#options.dir, "ca.crt");
  }

  /** Makes sure that every host has a certificate; in the place of a bad given one, a local one. */
  async ensureHosts(hosts: readonly string[]): Promise<void> {
    await this.#ensureRoot();
    const lines: string[] = [];
    for (const host of hosts) {
      const given = this.#findGiven(host);
      if (!given) await this.#ensureLeaf(host);
      const protocols = host === this.#options.http1Host ? " [alpn http/1.1]" : "";
      lines.push(`${given ?? this.#leafFile(host)}${protocols} ${host}`);
    }
    const list = `${lines.join("\n")}\n`;
    if (readText(this.#options.listFile) !== list) writeWhole(this.#options.listFile, list, 0o644);
  }

  /** Changes when a certificate was replaced, given or taken away, or is due for renewal. */
  fingerprint(): string {
    const lines = (readText(this.#options.listFile) ?? "").split("\n").filter(Boolean);
    return lines
      .map((line) => {
        const { file, host } = entryOf(line);
        const given = this.#candidates(host).filter((path) => existsSync(path));
        // Also when the one that is served ends.
        const states = given.map(
          (path) => `${path} ${stampOf(path)} ${this.#mistakeIn(path, host)}`,
        );
        return [line, stampOf(file), ...states, this.#isDue(file)];
      })
      .join("\n");
  }

  /** Those that are served, with when they end (ms since the epoch), and whether another was given. */
  certificates(): {
    readonly host: string;
    readonly expiresAt: number;
    readonly isRefused: boolean;
  }[] {
    const lines = (readText(this.#options.listFile) ?? "").split("\n").filter(Boolean);
    return lines.flatMap((line) => {
      const { file, host } = entryOf(line);
      const expiresAt = expiryOf(file);
      const isRefused = this.problemWith(host) !== undefined;
      return expiresAt === undefined ? [] : [{ host, expiresAt, isRefused }];
    });
  }

  #isDue(file: string): boolean {
    if (!file.startsWith(this.#options.dir)) return false;
    const expiresAt = expiryOf(file);
    return expiresAt === undefined || expiresAt - this.#options.now() < RENEW_BEFORE_DAYS * DAY_MS;
  }

  async #ensureRoot(): Promise<void> {
    const { dir, givenDir } = this.#options;
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    mkdirSync(givenDir, { recursive: true, mode: 0o700 });
    if (existsSync(this.rootFile) && existsSync(join(dir, "ca.key"))) return;
    await this.#inScratch(async (scratch) => {
      const [key, certificate] = [join(scratch, "key"), join(scratch, "crt")];
      const subject = ["-subj", "/O=Holdfast/CN=Holdfast local CA"];
      const extensions = [
        "-addext",
        "basicConstraints=critical,CA:true,pathlen:0",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
      ];
      await openssl([
        "req",
        "-x509",
        ...KEY,
        "-days",
        String(CA_DAYS),
        "-keyout",
        key,
        "-out",
        certificate,
        ...subject,
        ...extensions,
      ]);
      writeWhole(join(dir, "ca.key"), readText(key) ?? "", 0o600);
      writeWhole(this.rootFile, readText(certificate) ?? "", 0o644);
    });
  }

  async #ensureLeaf(host: string): Promise<void> {
    const file = this.#leafFile(host);
    if (!this.#isDue(file)) return;
    const { dir } = this.#options;
    await this.#inScratch(async (scratch) => {
      const [key, request, certificate, extensions] = ["key", "csr", "crt", "ext"].map((name) =>
        join(scratch, name),
      ) as [string, string, string, string];
      await openssl([
        "req",
        "-new",
        ...KEY,
        "-keyout",
        key,
        "-out",
        request,
        "-subj",
        `/CN=${host.slice(0, 64)}`,
      ]);
      const names = host === "localhost" ? "DNS:localhost,IP:127.0.0.1,IP:::1" : `DNS:${host}`;
      writeWhole(
        extensions,
        `subjectAltName=${names}\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:false\n`,
      );
      const signer = [
        "-CA",
        this.rootFile,
        "-CAkey",
        join(dir, "ca.key"),
        "-CAcreateserial",
        "-CAserial",
        join(scratch, "serial"),
      ];
      await openssl([
        "x509",
        "-req",
        "-in",
        request,
        "-out",
        certificate,
        "-days",
        String(LEAF_DAYS),
        "-extfile",
        extensions,
        ...signer,
      ]);
      writeWhole(file, `${readText(certificate)}${readText(this.rootFile)}${readText(key)}`, 0o600);
    });
  }

  #candidates(host: string): readonly string[] {
    const parent = host.split(".").slice(1).join(".");
    return [host.replace(/^\*\./, "_wildcard."), `_wildcard.${parent}`].map((name) =>
      join(this.#options.givenDir, `${name}.pem`),
    );
  }

  #findGiven(host: string): string | undefined {
    return this.#candidates(host).find(
      (path) => existsSync(path) && this.#mistakeIn(path, host) === undefined,
    );
  }

  // One that has ended is as good as none: what else there is for the host is served.
  #mistakeIn(file: string, host: string): string | undefined {
    const mistake = mistakeIn(file, host);
    if (mistake !== undefined) return mistake;
    const { from, until } = validityOf(file) ?? { from: 0, until: 0 };
    const now = this.#options.now();
    if (until <= now) return `it ended at ${new Date(until).toISOString()}`;
    return from > now ? `it begins at ${new Date(from).toISOString()}` : undefined;
  }

  /** What is wrong with the certificate that was given for a host; another one is served then. */
  problemWith(host: string): string | undefined {
    const file = this.#candidates(host).find((path) => existsSync(path));
    const mistake = file && this.#mistakeIn(file, host);
    if (!mistake) return undefined;
    const instead = this.#findGiven(host) ?? "one of the local CA, which no browser knows,";
    return `the certificate ${file} can't be used for ${host}: ${mistake}; ${instead} is served`;
  }

  #leafFile(host: string): string {
    return join(this.#options.dir, "hosts", `${host.replace(/^\*\./, "_wildcard.")}.pem`);
  }

  async #inScratch(work: (scratch: string) => Promise<void>): Promise<void> {
    const scratch = mkdtempSync(join(this.#options.dir, "scratch-"));
    try {
      await work(scratch);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
}

const openssl = (args: readonly string[]): Promise<string> => runOrThrow(["openssl", ...args]);

function stampOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat ? `${stat.mtimeMs} ${stat.size}` : "none";
}

interface Validity {
  /** ms since the epoch */
  readonly from: number;
  readonly until: number;
}

const validities = new Map<string, Validity & { readonly stamp: string }>();

/** Parsed once per version of the file: it is asked for often. */
function validityOf(file: string): Validity | undefined {
  const stamp = stampOf(file);
  const known = validities.get(file);
  if (known?.stamp === stamp) return known;
  const pem = readText(file);
  if (pem === undefined) return undefined;
  const { validFrom, validTo } = new X509Certificate(pem);
  const validity = { stamp, from: Date.parse(validFrom), until: Date.parse(validTo) };
  validities.set(file, validity);
  return validity;
}

const expiryOf = (file: string): number | undefined => validityOf(file)?.until;

const mistakes = new Map<
  string,
  { readonly stamp: string; readonly mistake: string | undefined }
>();

/** Why a file is no certificate for a host; looked into once per version of the file. */
function mistakeIn(file: string, host: string): string | undefined {
  const stamp = stampOf(file);
  const known = mistakes.get(`${file} ${host}`);
  if (known?.stamp === stamp) return known.mistake;
  const mistake = findMistake(readText(file) ?? "", host);
  mistakes.set(`${file} ${host}`, { stamp, mistake });
  return mistake;
}

function findMistake(pem: string, host: string): string | undefined {
  try {
    createSecureContext({ cert: pem, key: pem });
    const certificate = new X509Certificate(pem);
    const isFor = certificate.checkHost(host.replace(/^\*/, "any")) !== undefined;
    return isFor ? undefined : "it is for other names";
  } catch (error) {
    return messageOf(error);
  }
}

/** `file [options] host`, as HAProxy's list has it. */
function entryOf(line: string): { readonly file: string; readonly host: string } {
  const words = line.split(" ");
  return { file: words[0] ?? "", host: words.at(-1) ?? "" };
}
