// Prometheus and Alertmanager, asked over HTTP on loopback.

import { invalid, transient } from "../../kernel/error.ts";
import { scopeToEnvironment } from "./promql-scope.ts";

const TIMEOUT_MS = 30_000;

type Params = Readonly<Record<string, string | readonly string[]>>;

/** What can be held to one environment. */
const HELD = /^(query|query_range|series|labels|label\/\w+\/values)$/;

export interface MonitoringAddresses {
  readonly prometheus: () => Promise<number>;
  readonly alertmanager: () => Promise<number>;
}

export class PrometheusClient {
  readonly #ports: MonitoringAddresses;

  constructor(ports: MonitoringAddresses) {
    this.#ports = ports;
  }

  /**
   * Prometheus' own API: `query`, `query_range`, `labels`, …; gives its whole answer. With an
   * environment only what is of that.
   *
   * @throws metrics.bad_query (with its position), metrics.away
   */
  async ask(path: string, params: Params, environment?: string): Promise<unknown> {
    return this.#get(
      path,
      environment === undefined ? params : await this.#held(path, params, environment),
    );
  }

  async #held(path: string, params: Params, environment: string): Promise<Params> {
    if (!HELD.test(path))
      throw invalid("metrics.not_by_environment", `${path} is not told by environment`, {
        hint: "ask it without one, as somebody who may look at the whole installation",
      });
    const given = path.startsWith("query") ? params["query"] : params["match[]"];
    const queries = [given ?? (path.startsWith("query") ? "" : "{}")].flat();
    const held = await Promise.all(queries.map((query) => this.#heldQuery(query, environment)));
    return path.startsWith("query")
      ? { ...params, query: held[0] ?? "" }
      : { ...params, "match[]": held };
  }

  // As Prometheus itself understands it: what is read here then has no second meaning there.
  async #heldQuery(query: string, environment: string): Promise<string> {
    if (query === "{}") return scopeToEnvironment(query, environment);
    const { data } = (await this.#get("format_query", { query })) as { data: string };
    return scopeToEnvironment(data, environment);
  }

  async #get(path: string, params: Params): Promise<unknown> {
    const search = new URLSearchParams();
    for (const [key, value] of Object.entries(params))
      for (const one of typeof value === "string" ? [value] : value) search.append(key, one);
    const port = await this.#ports.prometheus();
    const answer = await this.#fetch(
      `http://127.0.0.1:${port}/api/v1/${path}?${search}`,
      "metrics",
    );
    const body = (await answer.json()) as { status?: string; error?: string };
    if (body.status === "success") return body;
    throw invalid("metrics.bad_query", body.error ?? `Prometheus answered ${answer.status}`, {
      hint: "for example: holdfast metrics 'sum by (service) (rate(holdfast_requests_total[1m]))'",
    });
  }

  /** Alertmanager's API, version 2. */
  async alertmanager(method: string, path: string, body?: unknown): Promise<unknown> {
    const port = await this.#ports.alertmanager();
    const answer = await this.#fetch(`http://127.0.0.1:${port}/api/v2/${path}`, "alerting", {
      method,
      ...(body !== undefined && {
        body: JSON.stringify(body),
        headers: { "content-type": "application/json" },
      }),
    });
    const text = await answer.text();
    if (answer.ok) return text === "" ? {} : JSON.parse(text);
    throw invalid("alerting.refused", `Alertmanager answered ${answer.status}: ${text}`, {
      hint: "holdfast alerts",
    });
  }

  async #fetch(url: string, what: string, init: RequestInit = {}): Promise<Response> {
    return fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) }).catch((cause) => {
      throw transient(
        `${what}.away`,
        `${what === "metrics" ? "Prometheus" : "Alertmanager"} does not answer`,
        {
          hint: "it is started again by itself; holdfast status says whether it is installed and runs",
          cause,
        },
      );
    });
  }
}
