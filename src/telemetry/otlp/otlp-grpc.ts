// OTLP over gRPC: the Export method of the three services, one message each.

import grpc from "@grpc/grpc-js";
import { asHoldfastError } from "../../kernel/error.ts";
import { encodePartialSuccess, type OtlpSignal } from "./messages.ts";
import { MESSAGE_MAX_BYTES, statusesOf } from "./otlp-http.ts";
import type { OtlpIntake, Refused } from "./otlp-intake.ts";

const PACKAGE = "opentelemetry.proto.collector";
const SERVICES: Readonly<Record<OtlpSignal, string>> = {
  traces: `${PACKAGE}.trace.v1.TraceService`,
  logs: `${PACKAGE}.logs.v1.LogsService`,
  metrics: `${PACKAGE}.metrics.v1.MetricsService`,
};
const asIs = (bytes: Buffer): Buffer => bytes;

export async function listenForOtlpGrpc(
  intake: OtlpIntake,
  address: { readonly host: string; readonly port: number },
): Promise<grpc.Server> {
  const server = new grpc.Server({
    "grpc.max_receive_message_length": MESSAGE_MAX_BYTES,
    "grpc-node.max_session_memory": 64,
  });
  for (const [signal, name] of Object.entries(SERVICES) as [OtlpSignal, string][]) {
    const Export = {
      path: `/${name}/Export`,
      requestStream: false,
      responseStream: false,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    };
    server.addService({ Export }, { Export: exportCall(intake, signal) });
  }
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(
      `${address.host}:${address.port}`,
      grpc.ServerCredentials.createInsecure(),
      (error) => (error ? reject(error) : resolve()),
    );
  });
  return server;
}

function exportCall(intake: OtlpIntake, signal: OtlpSignal): grpc.handleUnaryCall<Buffer, Buffer> {
  return (call, done) => {
    const authorization = String(call.metadata.get("authorization")[0] ?? "");
    const taken = async (): Promise<Refused | undefined> =>
      intake.take(intake.senderOf(authorization), signal, "protobuf", call.request);
    taken().then(
      (refused) => done(null, Buffer.from(encodePartialSuccess(signal, "protobuf", refused))),
      (error: unknown) => {
        const known = asHoldfastError(error);
        done({ code: statusesOf(known).grpc, details: known.message });
      },
    );
  };
}
