/** What the command line needs of the ways in that the API server offers: how to hash a password, how to show a ticket, where to log in. */
export { hashPassword } from '#apiserver/authn/basic/password-hash.ts';
export { initiate as kerberosToken } from '#apiserver/authn/kerberos/gssapi.ts';
