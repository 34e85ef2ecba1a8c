/**
 * Whether a request is local: from a person or a program on this machine, and not from a web page or a proxy.
 *
 * Without an admin token the control plane is open to local requests only (docs/security.md). Each rule stops
 * one kind of attack: the peer's address (another machine), Host (DNS rebinding), Origin and Sec-Fetch-Site
 * (a page of another site that posts a form or fetches), the forwarding headers (a proxy on this machine that
 * serves others).
 */
import type { IncomingHttpHeaders } from 'node:http'
import { BlockList, isIP } from 'node:net'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

const proxyHeaders = /^(forwarded|via|x-forwarded-.*|x-real-ip)$/

/** True for `localhost`, 127.0.0.0/8 and ::1. Addresses must be in standard notation: 127.1 is none. */
export function isLoopbackHost(host: string): boolean {
  return host.toLowerCase() === 'localhost' || isLoopbackAddress(host)
}

/** True for a loopback IP address. An IPv4 address inside IPv6 (`::ffff:127.0.0.1`) counts as IPv4. */
function isLoopbackAddress(address: string | undefined): boolean {
  if (address === undefined) return false
  const plain = address.toLowerCase().startsWith('::ffff:') ? address.slice(7) : address
  const version = isIP(plain)
  return version !== 0 && loopback.check(plain, version === 4 ? 'ipv4' : 'ipv6')
}

/**
 * Why a request does not count as local, in one clause for people; null if it does.
 *
 * @param peer remote address of the socket itself, not one that a proxy reports
 */
export function notLocal(peer: string | undefined, headers: IncomingHttpHeaders): string | null {
  if (!isLoopbackAddress(peer)) return 'it comes from another machine'
  const host = headers.host ?? ''
  const name = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::\d{1,5})?$/i.exec(host)
  if (!name || !isLoopbackHost(name[1] ?? name[2]!)) return 'its Host is not a loopback name'
  if (headers.origin !== undefined && headers.origin.toLowerCase() !== `http://${host.toLowerCase()}`)
    return 'its Origin is another site'
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    return 'a page of another site sent it (Sec-Fetch-Site)'
  const proxied = Object.keys(headers).find((field) => proxyHeaders.test(field))
  if (proxied !== undefined) return `a proxy sent it (${proxied})`
  return null
}
