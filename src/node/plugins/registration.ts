/** The kubelet's registration of plugins (pluginregistration.Registration) as data, and its client. */
import { callUnary, connectUnixSocket } from '#grpc/unary.ts';
import { describeProtocol, type Messages, type Services } from '#grpc/describe.ts';

const MESSAGES: Messages = {
  Empty: [],
  PluginInfo: [
    ['type', 1, 'string'],
    ['name', 2, 'string'],
    ['endpoint', 3, 'string'],
    ['supportedVersions', 4, 'string', 'repeated'],
  ],
  RegistrationStatus: [
    ['pluginRegistered', 1, 'bool'],
    ['error', 2, 'string'],
  ],
};

const SERVICES: Services = {
  Registration: {
    GetInfo: ['Empty', 'PluginInfo'],
    NotifyRegistrationStatus: ['RegistrationStatus', 'Empty'],
  },
};

export interface PluginInfo {
  /** 'CSIPlugin', 'DevicePlugin' or 'DRAPlugin'. */
  readonly type: string;
  readonly name: string;
  /** The socket of the plugin itself; '': the one that registers it. */
  readonly endpoint: string;
  readonly supportedVersions: readonly string[];
}

export const { methods: registrationMethods } = describeProtocol('pluginregistration', {
  messages: MESSAGES,
  services: SERVICES,
});

/** Calls reject with gRPC's ServiceError. */
export interface RegistrationClient {
  getInfo(): Promise<PluginInfo>;
  notify(status: { readonly pluginRegistered: boolean; readonly error: string }): Promise<void>;
  close(): void;
}

const DEADLINE_MS = 10_000;
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

export function createRegistrationClient(socketPath: string): RegistrationClient {
  const connection = connectUnixSocket(socketPath, { maxMessageBytes: MAX_MESSAGE_BYTES });
  const call = <Response>(name: string, request: object): Promise<Response> =>
    callUnary(connection, {
      codec: registrationMethods.get(name)!,
      request,
      options: { deadlineMs: DEADLINE_MS },
    });
  return {
    getInfo: () => call('GetInfo', {}),
    notify: (status) => call('NotifyRegistrationStatus', status),
    close: () => connection.close(),
  };
}
