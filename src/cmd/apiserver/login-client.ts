/** The command line's part of the API server's logins: hashing a password, sending a ticket, the login URL. */
export { hashPassword } from '#apiserver/authn/basic/password-hash.ts';
export { initiate as kerberosToken } from '#apiserver/authn/kerberos/gssapi.ts';
