/**
 * Is this request from a person or program on this machine, and not from a web page or a proxy?
 *
 * Without a token the control plane is open to such requests only (design: section 8). Each rule closes a
 * way in: the peer (the network), the Host (DNS rebinding), the Origin and Sec-Fetch-Site (a page of another
 * site that posts a form or fetches), the forwarding headers (a proxy on this machine that serves others).
 */
import type { IncomingHttpHeaders } from 'node:http'
import { BlockList, isIP } from 'node:net'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

const proxyHeaders = /^(forwarded|via|x-forwarded-.*|x-real-ip)$/

/** True for `localhost`, 127.0.0.0/8 and ::1, written in full. */
export function isLoopbackHost(host: string): boolean {
  return host.toLowerCase() === 'localhost' || isLoopbackAddress(host)
}

/** True for a loopback IP address; IPv4 inside IPv6 counts as its IPv4 address. */
function isLoopbackAddress(address: string | undefined): boolean {
  if (address === undefined) return false
  const plain = address.toLowerCase().startsWith('::ffff:') ? address.slice(7) : address
  const version = isIP(plain)
  return version !== 0 && loopback.check(plain, version === 4 ? 'ipv4' : 'ipv6')
}

/**
 * Why a request does not count as local, one clause for people, or null where it does.
 *
 * @param peer remote address of the socket itself, whatever a proxy says
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
