// Sends confirmation mails from the outbox. A row is locked while it is sent, so several workers
// never send one twice; one that fails is tried again, later and later.

import nodemailer from "nodemailer";
import { database, inTransaction } from "./database.ts";
import { failAtStart } from "./fault.ts";
import { log } from "./log.ts";
import { inSpan, meter, stopTelemetry } from "./telemetry.ts";

const IDLE_MS = 1_000;
const RETRY_MAX_S = 3_600;

const smtp = process.env["SMTP_URL"];
const mailer = smtp
  ? nodemailer.createTransport(smtp)
  : nodemailer.createTransport({ jsonTransport: true });
const sender = process.env["MAIL_FROM"] ?? "shop@storefront.localhost";

let isStopping = false;
let wake: () => void = () => undefined;
process.once("SIGTERM", () => {
  isStopping = true;
  wake();
});

/** Sends one mail that is due; false where there was none. */
function sendNext(): Promise<boolean> {
  return inTransaction(async (client) => {
    const { rows } = await client.query(
      `SELECT id, recipient, subject, body, attempts FROM outbox
       WHERE sent_at IS NULL AND not_before <= now() ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED`,
    );
    const [mail] = rows as {
      id: string;
      recipient: string;
      subject: string;
      body: string;
      attempts: number;
    }[];
    if (!mail) return false;
    try {
      await inSpan("send mail", "internal", {}, async () => {
        await mailer.sendMail({
          from: sender,
          to: mail.recipient,
          subject: mail.subject,
          text: mail.body,
        });
        await client.query("UPDATE outbox SET sent_at = now() WHERE id = $1", [mail.id]);
      });
      log("info", "mail sent", { mail: mail.id });
    } catch (error) {
      const delay = Math.min(RETRY_MAX_S, 2 ** mail.attempts);
      await client.query(
        "UPDATE outbox SET attempts = attempts + 1, not_before = now() + make_interval(secs => $2) WHERE id = $1",
        [mail.id, delay],
      );
      log("warn", "mail not sent, tried again later", {
        mail: mail.id,
        inSeconds: delay,
        error: error instanceof Error ? error.message : String(error),
      });
    }
    return true;
  });
}

/** What the worker is behind with: alerts watch it. */
meter
  .createObservableGauge("shop.outbox.waiting", { description: "Mails that wait to be sent" })
  .addCallback(async (result) => {
    const { rows } = await database.query<{ n: string }>(
      "SELECT count(*) AS n FROM outbox WHERE sent_at IS NULL",
    );
    result.observe(Number(rows[0]?.n));
  });

failAtStart();
log("info", "worker started", { mail: smtp ? "smtp" : "log only" });
while (!isStopping) {
  const sent = await sendNext().catch((error: Error) => {
    log("warn", "the outbox can't be read", { error: error.message });
    return false;
  });
  if (sent || isStopping) continue;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, IDLE_MS);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}
log("info", "worker stops");
await database.end();
await stopTelemetry();
