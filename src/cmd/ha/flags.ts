/** The flags of `capstan ha keepalived` and `capstan ha haproxy`. */
import { flagKinds, type GivenFlags } from '../flags/define.ts';

const flag = flagKinds();

const COMMON_FLAGS = {
  'certificate-authority': flag.file({
    help: 'authority that the certificates of the API servers are checked with',
    default: '/etc/kubernetes/pki/ca.crt',
  }),
  write: flag.boolean({
    help: 'write the files; without it they are printed',
    default: false,
  }),
  rootfs: flag.dir({ help: 'directory before every path that is written', default: '/' }),
};

export const KEEPALIVED_FLAGS = {
  address: flag.text({ placeholder: '<address[/prefix]>', help: 'the floating address' }),
  interface: flag.text({ placeholder: '<name>', help: 'network interface of the floating address' }),
  own: flag.text({ placeholder: '<address>', help: "this machine's own address" }),
  peer: flag.list({
    placeholder: '<addresses>',
    help: 'the other control planes; given once or several times',
  }),
  'secure-port': flag.number({
    min: 1,
    max: 65_535,
    help: "port of this machine's API server",
    default: 6443,
  }),
  'password-key-file': flag.file({
    help: 'file that each control plane has, from which the password of the routers is made',
    default: '/etc/kubernetes/pki/sa.key',
  }),
  dir: flag.dir({ help: 'where the files lie', default: '/etc/keepalived' }),
  'unit-dir': flag.dir({
    help: 'where systemd looks for additions to units',
    default: '/etc/systemd/system',
  }),
  'pid-file': flag.file({ help: "keepalived's", default: '/run/keepalived.pid' }),
  'state-file': flag.file({ help: 'where its state is kept', default: '/run/capstan/keepalived.state' }),
  ...COMMON_FLAGS,
};

export const HAPROXY_FLAGS = {
  server: flag.list({
    placeholder: '<host:port>',
    help: 'an API server; given once or several times',
  }),
  listen: flag.text({ placeholder: '<address:port>', help: 'where clients connect', default: '*:8443' }),
  file: flag.file({ help: 'the file to write', default: '/etc/haproxy/haproxy.cfg' }),
  ...COMMON_FLAGS,
};

export type KeepalivedFlags = GivenFlags<typeof KEEPALIVED_FLAGS>;
export type HaproxyFlags = GivenFlags<typeof HAPROXY_FLAGS>;
