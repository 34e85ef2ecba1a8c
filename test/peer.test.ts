/** Which addresses are one peer: an IPv6 host has a whole network of addresses. Which are those of trusted proxies. */
import t from 'tap'
import { peerOf, trustedProxies } from '../src/http/access/peer.js'

const cases: [address: string, peer: string][] = [
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002:ffff::1', '2001:db8:1:2::/64'],
  ['2001:db8::6', '2001:db8:0:0::/64'],
  ['2001:db8::1:2:3:4:5', '2001:db8:0:1::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::', '0:0:0:0::/64'],
  ['not an address', 'not an address'],
]

for (const [address, peer] of cases) t.test(address, async (t) => t.equal(peerOf(address), peer))

t.test('trusted proxies are found by address and by network', async (t) => {
  const isProxy = trustedProxies(['10.0.0.0/8', '192.0.2.7', '2001:db8:1::/48', '2001:db8:2::7', 'fe80::/10'])
  for (const address of [
    '10.9.8.7',
    '::ffff:10.9.8.7',
    '192.0.2.7',
    '2001:db8:1:2::3',
    '2001:db8:2::7',
    'fe80::1%eth0',
  ])
    t.ok(isProxy(address), address)
  for (const address of ['11.0.0.1', '192.0.2.8', '::ffff:192.0.2.8', '2001:db8:3::1', '2001:db8:2::8', ''])
    t.notOk(isProxy(address), address)
})
