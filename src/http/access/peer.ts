/** Which addresses are one peer, and which are those of trusted proxies. */
import { BlockList, isIPv6 } from 'node:net'

/** Groups of an IPv6 address, 16 bits each, that name a network: a host has a /64 network to itself. */
const NETWORK_GROUPS = 4
const GROUPS = 8

/**
 * The peer that an address belongs to: the address itself, or the /64 network of an IPv6 address, whose host may use
 * as many addresses of it as it likes. An IPv4 address in the form of an IPv6 one is that IPv4 address.
 */
export function peerOf(address: string): string {
  if (!isIPv6(address)) return address
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  const [head = '', tail] = address.replace(/%.*$/, '').split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: Math.max(0, GROUPS - before.length - after.length) }, () => '0')
  const groups = [...before, ...zeros, ...after].map((group) => group.replace(/^0+(?=.)/, '').toLowerCase())
  return `${groups.slice(0, NETWORK_GROUPS).join(':')}::/64`
}

/** Tells whether an address is one of these addresses or in one of these networks. */
export function trustedProxies(trusted: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  const familyOf = (address: string) => (isIPv6(address) ? 'ipv6' : 'ipv4')
  for (const each of trusted) {
    const [address, bits] = each.split('/') as [string, string?]
    if (bits === undefined) list.addAddress(address, familyOf(address))
    else list.addSubnet(address, Number(bits), familyOf(address))
  }
  return (address) => {
    const bare = address.replace(/%.*$/, '')
    return list.check(bare, familyOf(bare))
  }
}
