//! The sentences, English and Japanese side by side. English: what is seen, what it can mean, what to
//! try. Japanese, as its help desks write it: 原因 → 確認手順 → コマンド例 → 解釈, where there is a fault.

use super::text::Lang;

macro_rules! notes {
    ($($(#[$doc:meta])* $name:ident: $en:literal, $ja:literal;)+) => {
        /// A row of the table of sentences.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Note { $($(#[$doc])* $name,)+ }

        impl Note {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The sentence, with its slots in braces.
            #[must_use]
            pub const fn template(self, lang: Lang) -> &'static str {
                match lang {
                    Lang::En => match self { $(Self::$name => $en,)+ },
                    Lang::Ja => match self { $(Self::$name => $ja,)+ },
                }
            }
        }
    };
}

impl Note {
    /// Whether an administrator should look at it although the step works.
    #[must_use]
    pub const fn attention(self) -> bool {
        matches!(
            self,
            Self::UnderLoad
                | Self::L2tpInClear
                | Self::Aggressive
                | Self::NattSilentFound
                | Self::CertificateFound
                | Self::NatForgets
                | Self::TlsLegacy
                | Self::NotJudged
                | Self::WireguardLoad
                | Self::ThroughTunnel
                | Self::SameSubnetShadowed
                | Self::EspMaybe
                | Self::Ipv6Around
        )
    }
}

notes! {
    // name
    /// The target is a literal address.
    NameLiteral: "{host} is an address; no name to look up.",
        "{host} はアドレスのため名前解決は不要です。";
    /// The name resolves.
    NameOk: "{host} is {addresses}.",
        "{host} は {addresses} です。";
    /// The name does not exist or has no address.
    NameMissing: "The name {host} cannot be used: {reason}.",
        "原因: {host} の名前解決ができません({reason})。";
    /// The lookup failed in a way that says nothing about the name.
    NameUnknown: "{host} could not be looked up ({detail}). This can be this host's own resolver; nothing is known of the target.",
        "原因: {host} の名前解決に失敗しました({detail})。このホストの DNS 設定側の問題の可能性があり、対象の状態は不明です。";
    /// An earlier step was not passed.
    NotTried: "Not tried, because the step before it was not passed.",
        "前の段階を通過していないため未確認です。";

    // route
    /// There is a way.
    RouteOk: "This host sends from {source}.",
        "このホストは {source} から送信します。";
    /// Nothing is known of the routes, and probes left.
    RouteImplied: "Packets leave this host.",
        "このホストからパケットを送信できています。";
    /// There is none.
    RouteNone: "This host cannot send to {address}: {fault}. The fault is here, not at the target.",
        "原因: このホストから {address} へ送信できません({fault})。対象ではなく手元の問題です。";
    /// The host cannot send, for a reason that does not tell of its routes.
    RouteUnknown: "Nothing could be sent to {address}: {fault}. That is this host's own fault and says nothing about the target.",
        "{address} へ送信できませんでした({fault})。手元の問題であり、対象の状態は不明です。";
    /// Some members have no route.
    RoutePartly: "Not judged: {address}, because of this host ({fault}).",
        "{address} は手元の理由({fault})により判定対象外です。";

    // reach
    /// Ping is answered.
    ReachPing: "{address} answers ping ({rtt}).",
        "{address} は ping に応答します({rtt})。";
    /// Ping is not answered, a port is.
    ReachPorts: "{address} is reached: it answers on {life}. Ping is not answered, so it is filtered or switched off; that is harmless.",
        "{address} に到達できます({life} が応答)。ping は無応答ですが、ICMP の遮断とみられ問題ありません。";
    /// Ping is not answered, and a port refuses.
    ReachRefusals: "{address} is reached: the host, or a firewall in front of it, refuses {life}. Ping is not answered.",
        "{address} に到達できます({life} は本体または手前のファイアウォールが拒否応答)。ping は無応答です。";
    /// Ping was not asked, and a port answers or refuses.
    ReachWithoutPing: "{address} is reached: it answers or refuses on {life}. Ping was not tried.",
        "{address} に到達できます({life} が応答または拒否応答)。ping は未実施です。";
    /// A router says that the host or its network is not there.
    ReachUnreachable: "A router reports for {address}: {reason}. The host is off, or its line or a route to it is down.",
        "原因: 途中のルーターが {address} への到達不能({reason})を返しています。装置の停止、回線断、経路異常の可能性。";
    /// Only a filter answers.
    ReachFiltered: "A filter on the way refuses all packets to {address}. Whether the host is up cannot be told from here. Ask who runs the firewall whether this address ({source}) is allowed.",
        "原因: 途中のフィルタが {address} 宛てのパケットを拒否しています。装置自体の稼働は不明です。";
    /// A filter answers ping, and the rest is silent.
    ReachFilteredPartly: "A filter on the way refuses packets to {address}, and the rest is not answered. Whether the host is up cannot be told from here.",
        "途中のフィルタが {address} 宛ての一部を拒否し、他は無応答です。装置の稼働はここからは判断できません。";
    /// Nothing came back at all.
    ReachSilent: "Nothing came back from {address}, neither ping nor any port. The host may be down, the path broken, or everything filtered: these cannot be told apart from here.",
        "原因: {address} から何も応答がありません。装置停止・経路断・全遮断のいずれかで、ここからは区別できません。";
    /// Nothing could be sent.
    ReachFault: "Not known for {address}: {fault}. That is no fault of the target.",
        "{address} は未確認です({fault})。対象の問題ではありません。";

    // ports
    /// All that is declared answers.
    PortsOk: "These answer in their own protocol: {ports}.",
        "{ports} が VPN のプロトコルで応答します。";
    /// Nothing is declared; this answers.
    PortsFound: "No VPN is declared for this target. These answer in their own protocol: {ports}.",
        "VPN の種類は未指定です。次が VPN のプロトコルで応答します: {ports}。";
    /// Nothing is declared, and nothing answers.
    PortsUndeclared: "No VPN is declared for this target, and no VPN port answers. That is no fault by itself; declare vpn: to have them judged.",
        "VPN の種類は未指定で、応答する VPN ポートもありません。それだけでは異常とは言えません(判定するには設定の vpn: で指定)。";
    /// A VPN is declared and no probe of its ports ran.
    PortsNotProbed: "No probe of the declared VPN has a result.",
        "指定された VPN のポートの測定結果がありません。";
    /// We could not try.
    PortsFault: "Not known for {ports}: {fault}. That is no fault of the target.",
        "{ports}: 未確認です({fault})。対象の問題ではありません。";
    /// The host itself is not reached.
    PortsUnreached: "Not judged, because the host is not reached: {ports}.",
        "装置に到達できないため {ports} は判定できません。";
    /// UDP 500 and 4500 are silent, and the host is there.
    IkeSilent: "No answer on {ports}, although the host is there ({life}). A filter, a stopped IKE daemon, and a box that holds our address back (too many half-open sessions) look the same from here.",
        "原因: 装置は稼働中({life})ですが {ports} が無応答です。ポート遮断、IKE サービス停止、装置による送信元の一時制限のいずれかで、外からは区別できません。";
    /// UDP 500 and 4500 are silent, and nothing else is heard of the host.
    IkeSilentUnknown: "No answer on {ports}, and nothing else is heard of the host. Silence alone does not prove a fault.",
        "{ports} が無応答で、装置からの他の応答もありません。無応答だけでは障害と断定できません。";
    /// UDP 500 answers, 4500 is silent.
    NattBlocked: "UDP {port500} answers and UDP {port4500} does not: clients behind NAT cannot connect. UDP 4500 is filtered on the way, or NAT traversal is off at the box.",
        "原因: UDP {port500} は応答し UDP {port4500} が無応答です(NAT-T 不可)。NAT 配下の利用者は接続できません。途中での UDP 4500 遮断、または装置の NAT-T 無効。";
    /// UDP 4500 answers, 500 is silent.
    IkePortSilent: "UDP {port4500} answers and UDP {port500} does not: most clients begin on UDP 500 and cannot connect. UDP 500 is filtered on the way, or switched off at the box.",
        "原因: UDP {port4500} は応答し UDP {port500} が無応答です。多くのクライアントは UDP 500 から始めるため接続できません。";
    /// A port is closed, by ICMP or by a reset.
    PortClosed: "Closed: {ports} ({reason}). The service does not run there, or a firewall rejects it.",
        "原因: {ports} が閉じています({reason})。サービス停止、またはファイアウォールの拒否設定です。";
    /// A filter says that it refuses the port.
    PortFiltered: "A filter on the way refuses {ports} (administratively prohibited). Allow it for {source} on the firewall that sends this message.",
        "原因: 途中のフィルタが {ports} を明示的に拒否しています。";
    /// The connection opens and is reset.
    PortReset: "{ports} opens and is then reset: {reason}. A filter that inspects the traffic, a ban of our address, or an overloaded service look the same from here.",
        "原因: {ports} は接続後に切断されます({reason})。検査型フィルタ、送信元の一時禁止、サービス過負荷は外から区別できません。";
    /// A TCP port is silent, and the host is there.
    TcpSilent: "{ports} does not answer, although the host is there ({life}): most likely a filter drops it.",
        "原因: 装置は稼働中({life})ですが {ports} が無応答です。途中の遮断が疑われます。";
    /// A TCP port is silent, and nothing else is heard of the host.
    TcpSilentUnknown: "{ports} does not answer, and nothing else is heard of the host. A broken path and a stopped host look the same.",
        "{ports} が無応答で、装置からの他の応答もありません。経路断と装置停止は区別できません。";
    /// TCP connects, and TLS is not answered.
    TlsSilent: "{ports} accepts the connection and does not answer the TLS handshake: the service hangs, or it is not TLS.",
        "原因: {ports} は接続できますが TLS に応答しません。サービスの停滞、または TLS でないサービスです。";
    /// The certificate is bad.
    Certificate: "{ports} answers, but: {reason}{detail}. Clients refuse it.",
        "原因: {ports} は応答しますが証明書に問題があります({reason}{detail})。クライアントは接続を拒否します。";
    /// The certificate does not come from an issuer that this host trusts.
    CertificateUntrusted: "{ports} answers with a certificate whose issuer this host does not trust{detail}. If it comes from your own CA, name its file as tls: ca_file; else clients refuse it, too.",
        "原因: {ports} の証明書の発行元を信頼できません{detail}。";
    /// A certificate that would be bad, where nothing is declared.
    CertificateFound: "On {ports}: {reason}{detail}. If it serves the VPN, its clients may refuse it.",
        "{ports} の証明書に注意({reason}{detail})。VPN 用であればクライアントが拒否する可能性があります。";
    /// The handshake ends in an alert.
    TlsAlert: "{ports} speaks TLS and refuses the handshake with an alert{detail}. The service is alive; it may want another server name or a newer setting.",
        "原因: {ports} は TLS で応答しますが、アラート{detail}でハンドシェイクを拒否します。サービスは稼働中です。";
    /// Only old TLS.
    TlsLegacy: "{ports} answers, with a TLS older than 1.2 or without ECDHE: alive, and too old for current clients.",
        "{ports} は応答しますが TLS 1.2 未満または ECDHE 非対応です。稼働中ですが、新しいクライアントは接続できない恐れがあります。";
    /// `OpenVPN` over UDP is silent without a key of ours.
    OpenvpnSilentNoKey: "{ports} does not answer. A server with tls-auth or tls-crypt ignores whoever lacks its key, and a stopped or filtered server is as silent: give the key (openvpn: tls_crypt_file) to tell them apart.",
        "{ports} が無応答です。tls-auth / tls-crypt を使うサーバーは鍵のない相手に応答しないため、停止や遮断と区別できません。設定に鍵(openvpn: tls_crypt_file)を指定すると判定できます。";
    /// `OpenVPN` is silent with our key, and the host is there.
    OpenvpnSilentKey: "No answer on {ports}, although the host is there ({life}) and a key is configured. A wrong or renewed key, a filter and a stopped server look the same from here. Compare the key file with the server's, then check that the packets arrive: tcpdump -ni any udp port {port}.",
        "原因: 装置は稼働中({life})で鍵も設定済みですが {ports} が無応答です。鍵の不一致・更新漏れ、遮断、サービス停止は外から区別できません。";
    /// `OpenVPN` is silent with our key, and nothing else is heard of the host.
    OpenvpnSilentUnknown: "No answer on {ports}, and nothing else is heard of the host. A wrong key, a filter, a broken path and a stopped server look the same.",
        "{ports} が無応答で、装置からの他の応答もありません。鍵の不一致・遮断・経路断・停止は区別できません。";
    /// `OpenVPN` over TCP hangs up on us.
    OpenvpnKeyWanted: "{ports} accepts the connection and hangs up, as an OpenVPN server does whose key we lack.",
        "{ports} は接続後すぐ切断します。鍵の合わない相手に対する OpenVPN サーバーの動作です。";
    /// `OpenVPN` answers the first packet only.
    Throttled: "{ports} answers the first packet and nothing after it: the server is full (max-clients), or limits new connections (connect-freq).",
        "原因: {ports} は最初のパケットにのみ応答します。同時接続数の上限(max-clients)または新規接続の制限(connect-freq)です。";
    /// Of two ports that do the same, one answers.
    OtherSilent: "{ports} does not answer; that is normal if the server does not offer it.",
        "{ports} は応答しませんが、提供していなければ正常です。";
    /// `WireGuard` without a key of ours.
    WireguardNoKey: "{ports} does not answer. A WireGuard server answers only peers it knows, so that a stopped or filtered one looks the same: give the keys of a peer of the probe's own (wireguard: private_key_file, public_key) to tell them apart.",
        "{ports} は無応答です。WireGuard は登録済みのピア以外には応答しないため、停止や遮断と区別できません。設定に測定専用ピアの鍵(wireguard: private_key_file、public_key)を指定すると判定できます。";
    /// `WireGuard` is silent to our peer, and the host is there.
    WireguardSilent: "No answer on {ports} to the handshake of a configured peer, although the host is there ({life}). A filter, a stopped server, and keys that are not those of a registered peer look the same from here.",
        "原因: 装置は稼働中({life})ですが、設定済みピアの鍵によるハンドシェイクに {ports} が応答しません。遮断、サービス停止、鍵の不一致(ピア未登録を含む)は外から区別できません。";
    /// `WireGuard` is silent to our peer, and nothing else is heard of the host.
    WireguardSilentUnknown: "No answer on {ports}, and nothing else is heard of the host. A wrong key, a filter, a broken path and a stopped server look the same.",
        "{ports} が無応答で、装置からの他の応答もありません。鍵の不一致・遮断・経路断・停止は区別できません。";
    /// `WireGuard` answers with a cookie.
    WireguardLoad: "{ports} asks for a cookie: the server has many handshakes just now.",
        "{ports} が Cookie を要求しています。サーバーにハンドシェイクが集中しています。";
    /// Another SSL VPN, or some web server, than the one declared.
    WrongFlavour: "{ports} is declared as {way}, and what answers there is: {detail}. The VPN service is switched off or moved, or something in between answers instead.",
        "原因: {ports} は {way} のはずですが、応答したのは {detail} です。VPN サービスの停止・移設、または途中の機器(プロキシ等)の代理応答です。";
    /// An HTTP status that is not the expected one.
    HttpStatus: "{ports} answers with an HTTP status that is not the expected one ({detail}). The page, or a proxy on this way, refuses; the path itself works.",
        "原因: {ports} が想定外の HTTP ステータスを返しています({detail})。経路は通じており、サービス側または途中のプロキシが拒否しています。";
    /// The same page is good by another way out.
    OnlyThisWay: "By {where} the same page is in order, so it is this way out that makes the difference.",
        "{where} 経由では同じページが正常です。違いは経路(出口)にあります。";
    /// Somebody in between answers instead of the service.
    Hijacked: "Somebody in between answers instead of {host}: by {where} the same service shows its true certificate. A captive portal or an inspecting proxy.",
        "原因: 途中の機器が {host} の代わりに応答しています({where} 経由では正しい証明書)。認証ポータル(Wi-Fi ログイン画面)または検査プロキシです。";
    /// A NAT is between.
    BehindNat: "A NAT is on the way; from outside this flow comes from {detail}.",
        "途中に NAT があります(外側から見た送信元は {detail})。";
    /// How long what is on the way remembers an idle flow.
    NatRemembers: "What is on the way (NAT, firewall) remembers an idle UDP flow for {time}.",
        "途中の機器(NAT、ファイアウォール)は無通信の UDP を {time} 記憶します。";
    /// It does so for longer than the keepalives come apart.
    NatHolds: "What is on the way (NAT, firewall) remembers an idle UDP flow for {time}, longer than the keepalives come apart ({keepalives}).",
        "途中の機器(NAT、ファイアウォール)は無通信の UDP を {time} 記憶します。keepalive の間隔({keepalives})より長く、問題ありません。";
    /// It forgets before the keepalive comes.
    NatForgets: "What is on the way (NAT, firewall) forgets an idle UDP flow after {time}, before the keepalive comes ({keepalives}): idle sessions drop without a word. Shorten the keepalive: set it to {seconds} s or less.",
        "原因: 途中の機器(NAT、ファイアウォール)は無通信の UDP を {time} で忘れます。keepalive の間隔({keepalives})の方が長いため、無通信のセッションが黙って切れます。keepalive を {seconds} 秒以下に設定してください。";
    /// Large packets of the VPN's own flow vanish.
    MtuBlackHole: "Packets above {bytes} bytes vanish without a message on the VPN's own flow, and smaller ones are answered. The tunnel comes up, and then stalls with large packets.",
        "原因: VPN の通信で {bytes} バイトを超えるパケットがエラー通知なく消えています(小さいパケットは応答あり)。トンネルは張れても大きなデータで止まります。";
    /// Large pings vanish.
    MtuBlackHolePing: "Pings above {bytes} bytes vanish without a message, and smaller ones are answered. That is an MTU black hole, or a firewall that refuses large pings only: these cannot be told apart from here.",
        "{bytes} バイトを超える ping がエラー通知なく消えています。MTU ブラックホールか、大きな ping だけを拒否するファイアウォールかは、ここからは区別できません。";
    /// Something else answers.
    WrongService: "What answers on {ports} does not answer as this VPN does: {reason}. Another service may sit there, or something in between answers instead.",
        "原因: {ports} の応答が VPN のものではありません({reason})。別サービスの動作、または途中の機器による応答です。";
    /// The peer asked for a cookie.
    UnderLoad: "The box asks for cookies: it has many half-open IKE sessions just now.",
        "装置が COOKIE を要求しています(未完了の IKE 接続が多数)。混雑または攻撃の可能性があります。";
    /// `IKEv1` aggressive mode is answered.
    Aggressive: "Finding: {ports} answers IKEv1 aggressive mode, which lets anyone guess the pre-shared key offline. Switch it off.",
        "注意: {ports} が IKEv1 アグレッシブモードに応答します。事前共有鍵をオフラインで推測される恐れがあるため無効にしてください。";
    /// UDP 4500 was not tried in the version of IKE that answers on 500.
    NattNotTried: "UDP {port4500} was not tried in the version of IKE that UDP {port500} answers; add the probe {probe} to have it judged.",
        "UDP {port500} が応答する IKE のバージョンでは UDP {port4500} を未確認です。判定するにはプローブ {probe} を追加してください。";
    /// L2TP answers in the clear.
    L2tpInClear: "Finding: L2TP ({ports}) answers outside IPsec. Allow it inside IPsec only.",
        "注意: L2TP({ports})が IPsec の外から応答します。IPsec 内のみに制限してください。";
    /// L2TP is silent, as it should be.
    L2tpSilent: "{ports} (L2TP) is silent in the clear, as it should be behind IPsec.",
        "{ports}(L2TP)は平文では無応答ですが、IPsec の背後では正常です。";
    /// UDP 500 answers, 4500 does not, and nothing is declared.
    NattSilentFound: "UDP {port500} answers and UDP {port4500} does not: if this is a VPN for clients behind NAT, UDP 4500 is blocked or NAT traversal is off.",
        "UDP {port500} は応答し UDP {port4500} は無応答です。NAT 配下から使う VPN であれば、UDP 4500 の遮断または NAT-T 無効が疑われます。";
    /// Which members or ways out the sentence before is about.
    Where: "Seen at {where}, not at every address or egress.",
        "該当: {where}(他のアドレス・出口では異なります)。";
    /// What was left out of the judgement.
    NotJudged: "Not judged: {where}, because of this host ({fault}).",
        "{where} は手元の理由({fault})により判定対象外です。";

    // authenticate
    /// No credentials.
    AuthSkipped: "No credentials are configured.",
        "認証情報が未設定のため未確認です。";
    /// The peer takes our pre-shared `OpenVPN` key.
    AuthKeyAccepted: "The server takes the configured key. No user's credentials are configured.",
        "設定された鍵はサーバーに受け入れられました。ユーザーの認証情報は未設定です。";
    /// The peer hangs up on our key.
    AuthKeyRefused: "The server hangs up although a key is configured: the key, its direction or its kind (tls-auth, tls-crypt, tls-crypt-v2) is not the server's, or the server is full.",
        "原因: 鍵を設定していますがサーバーが切断します。鍵・方向・種類(tls-auth / tls-crypt / tls-crypt-v2)の不一致、またはサーバーの満杯です。";
    /// The peer wants a key that we have not.
    AuthKeyMissing: "The server wants a pre-shared key (tls-auth or tls-crypt); none is configured here.",
        "サーバーは事前共有鍵(tls-auth / tls-crypt)を必要とします。ここには未設定です。";

    /// The configured session comes up.
    AuthOk: "The gateway takes the configured session's key and has proved that it knows it. The session was ended again.",
        "設定されたセッションの鍵は受け入れられ、ゲートウェイ側も鍵の所持を証明しました(セッションは終了済み)。";
    /// The gateway refuses the session's credentials.
    AuthRefused: "AUTHENTICATION_FAILED: the gateway refuses the configured session. The pre-shared key, our identity (local_id) or the identity expected of the gateway (remote_id) is not what it has.",
        "原因: AUTHENTICATION_FAILED。ゲートウェイが認証を拒否しました。事前共有鍵、local_id、remote_id のいずれかがゲートウェイの設定と一致しません。";
    /// The gateway takes us and cannot prove itself.
    AuthUnverified: "The gateway at {host} did not prove that it knows the pre-shared key, or is not the configured remote_id. It authenticates in another way (certificate, EAP), or it is not your gateway. The session was not used.",
        "原因: {host} のゲートウェイが事前共有鍵の所持を証明できないか、remote_id と一致しません。";
    /// The session was not answered.
    AuthSilent: "The configured session was not answered on UDP 4500: nothing is known of the credentials.",
        "設定されたセッションに UDP 4500 で応答がなく、認証情報の正否は不明です。";
    /// It ended for a reason that says nothing of the credentials.
    AuthUntold: "The configured session did not come up ({detail}): nothing is known of the credentials.",
        "設定されたセッションを確立できず({detail})、認証情報の正否は不明です。";

    // tunnel
    /// Not tried.
    TunnelSkipped: "Not tried: it takes credentials.",
        "認証情報が必要なため未確認です。";
    /// The configured session comes up; it has no child.
    TunnelChildless: "The session comes up (phase 1 and credentials). Whether its ESP packets pass cannot be known from here: it has no tunnel of its own.",
        "セッションは確立できます(フェーズ1と認証)。ESP パケットが通るかどうかは、ここからは分かりません(確認用セッションはトンネルを張りません)。";
    /// The session comes up, the routes go into the tunnel, and nothing comes out of it.
    EspMaybe: "The session comes up, and nothing comes back through the tunnel {tunnel}: its ESP packets may be blocked on the way, phase 2 may have failed, or a firewall inside drops everything. These look the same from here.",
        "セッションは確立できますが、トンネル {tunnel} からの応答が一切ありません。原因の候補: 経路上での ESP の遮断、フェーズ2の失敗、内部ファイアウォールの全破棄(ここからは区別できません)。";
    /// The cookie was returned, and no answer came.
    SessionLimit: "The box asks for a cookie on {ports}, gets it back, and then stays silent: it begins no new session. It has reached a limit of half-open sessions, as a whole or for our address ({source}) and all that share it. Sessions that are up may go on.",
        "原因: 装置は {ports} で COOKIE を要求し、返送しても応答しません。新しい接続を受け付けていません(未完了の接続数が、全体または接続元 {source} ごとの上限に到達。同じ NAT 配下の利用者も数えられます)。確立済みのセッションは続いている可能性があります。";
    /// Phase 1 is accepted.
    TunnelPhase1: "The phase 1 proposal is accepted{detail}. The tunnel itself takes credentials and was not tried.",
        "フェーズ1の提案は受け入れられました{detail}。トンネル自体は認証情報が必要なため未確認です。";
    /// The site's own proposals are refused.
    TunnelRefused: "NO_PROPOSAL_CHOSEN: the box refuses the site's own phase 1 proposals ({ports}). Encryption, hash or DH group differ, or it has no connection for our address ({source}): these look the same.",
        "原因: NO_PROPOSAL_CHOSEN。設定されたフェーズ1の提案が拒否されました({ports})。暗号(AES128/256)・ハッシュ(SHA1/SHA256)・DH グループの不一致、または送信元 {source} に対する設定がありません(外からは区別不可)。";
    /// Proposals of ours, not the site's, are refused.
    TunnelRefusedDefault: "The box refuses the common phase 1 proposals offered here. That is no fault by itself: give the site's own under ike: proposals to have them judged.",
        "一般的なフェーズ1の提案は拒否されました。それだけでは異常ではありません(判定するには設定の ike: proposals に実際の提案を指定)。";

    // inside
    /// The resolvers inside know the names.
    NamesOk: "The resolver inside answers: {ports}.",
        "内部 DNS サーバーで名前解決できます({ports})。";
    /// A resolver inside is silent, and something else inside answers.
    ResolverSilent: "The resolver inside, {address}, does not answer, although others inside do ({life}). It is stopped, or a firewall inside does not let VPN users ask it.",
        "原因: 内部 DNS サーバー {address} が無応答です(内部の {life} は応答あり)。DNS サービスの停止、または VPN 利用者からの DNS が内部ファイアウォールで遮断されています。";
    /// A resolver inside refuses.
    ResolverRefused: "The resolver inside, {address}, cannot be asked: {reason}.",
        "原因: 内部 DNS サーバー {address} に問い合わせできません({reason})。";
    /// Nothing inside answers.
    NothingInside: "Nothing inside answers ({ports}). The tunnel, a route inside or a firewall inside may be the cause: these cannot be told apart from here.",
        "内部からの応答がまったくありません({ports})。トンネル・内部経路・内部ファイアウォールのどれが原因かは、ここからは区別できません。";
    /// The inside name is not known there.
    NameUnknownInside: "The resolver inside, {address}, answers for {ports}: {reason}.",
        "原因: 内部 DNS サーバー {address} は応答しますが、{ports} は {reason} です。";
    /// An inside name answered with outside addresses.
    NameOutside: "{ports} is answered with addresses that are not inside: the resolver gives the outside view.",
        "原因: {ports} に内部のものでないアドレスが返りました。社外用の応答(スプリット DNS の外側)が使われています。";
    /// An inside name is known outside.
    NameLeak: "The resolver {address}, outside, answers an inside name: inside names leak, or are published.",
        "原因: 外部の DNS サーバー {address} が内部の名前に応答しています。内部名の漏えい、または外部への公開です。";
    /// A resolver answers what cannot exist, or where none is.
    DnsHijacked: "DNS is answered that cannot be: a name that does not exist, or at {address} where no resolver is. Something on the way answers instead.",
        "原因: 存在しない名前、または DNS サーバーのないアドレス {address} から応答がありました。途中の機器が DNS を横取りしています。";
    /// The hosts inside answer.
    HostsOk: "These inside answer: {ports}.",
        "内部の {ports} が応答します。";
    /// A host inside is refused by a firewall, or silent where another one answers.
    InsideDenied: "{ports} inside refuses or does not answer, although others inside do ({life}). A firewall inside denies VPN users' addresses, or that host is off: a filter that says nothing and a host that is off look the same.",
        "原因: 内部の {ports} が拒否または無応答です(内部の {life} は応答あり)。内部ファイアウォールが VPN 利用者のアドレス帯を拒否しているか、そのホストが停止しています(無言の破棄と停止は区別できません)。";
    /// A firewall inside says that it denies.
    InsideProhibited: "A firewall inside says that it refuses {ports} (administratively prohibited): it denies VPN users' addresses.",
        "原因: 内部のファイアウォールが {ports} を明示的に拒否しています(管理上の禁止)。VPN 利用者のアドレス帯が許可されていません。";
    /// A host inside refuses the port itself.
    InsideClosed: "{ports} inside is there and its service is not: {reason}.",
        "原因: 内部の {ports} はホストに到達できますが、サービスが動いていません({reason})。";
    /// We could not ask inside.
    InsideFault: "Nothing could be asked inside: {fault}. That is no fault of the inside.",
        "内部への確認ができませんでした({fault})。内部側の問題ではありません。";
    /// Nothing is declared, or not part of this check.
    InsideNotYet: "Not asked yet.",
        "まだ確認していません。";
    /// Nothing is declared for it.
    InsideSkipped: "Not tried: it takes the tunnel.",
        "トンネルが必要なため未確認です。";

    // the ways that packets would take
    /// The concentrator's own address is routed into its tunnel, and nothing answers.
    OwnTunnel: "The way to the concentrator ({address}) goes into its own tunnel ({tunnel}), and nothing answers: the tunnel's packets would go round in a circle. Mostly the host route to the concentrator was lost, for example by another Wi-Fi.",
        "原因: 装置 {address} への経路が自分自身のトンネル({tunnel})を向いており、応答もありません。トンネルのパケットが循環します(Wi-Fi の切り替えなどで装置へのホスト経路が失われた場合に多い)。";
    /// It is, and something answers.
    ThroughTunnel: "The probes of {address} go through the tunnel ({tunnel}) and do not tell of the way that the tunnel's own packets take. To measure that one, give the target an egress outside the tunnel.",
        "{address} への測定はトンネル({tunnel})の中を通っており、トンネル自身が通る経路の状態は分かりません。その経路を測るには、対象の egress にトンネル外の出口を指定します。";
    /// All inside networks go into the tunnel.
    InsideRoutesOk: "{prefixes}: routed into the tunnel ({tunnel}).",
        "{prefixes} はトンネル({tunnel})へ向いています。";
    /// The rest of the world goes into the tunnel, as declared.
    InternetFull: "The Internet goes through the tunnel ({tunnel}), as declared (full tunnel).",
        "インターネット宛てもトンネル({tunnel})経由です(宣言どおりのフルトンネル)。";
    /// It goes directly, as declared.
    InternetSplit: "The Internet goes directly ({way}), as declared (split tunnel).",
        "インターネット宛ては直接({way})です(宣言どおりのスプリットトンネル)。";
    /// Nothing is declared of it.
    InternetWay: "The Internet goes through {way}; whether that is meant is not declared (inside: tunnel).",
        "インターネット宛ては {way} 経由です(意図した経路かどうかは設定 inside: tunnel に未宣言)。";
    /// The kernel did not tell.
    WaysUntold: "The kernel did not tell which way packets would go; that says nothing about the tunnel.",
        "カーネルから経路を取得できませんでした。トンネルの状態は不明です。";
    /// The tunnel's interface is missing.
    TunnelDown: "The tunnel's interface {tunnel} is not there, is down or has no address: the VPN is not up on this host, so its routes cannot be judged.",
        "トンネルのインターフェース {tunnel} がない、停止中、またはアドレスがありません。このホストで VPN が接続されていないため、経路は判断できません。";
    /// No tunnel is named.
    NoTunnelNamed: "Not judged: no tunnel is named (inside: egress). A policy of IPsec without an interface of its own has no route that could be seen from here.",
        "トンネルが指定されていないため(設定 inside: egress)未確認です。専用インターフェースのないポリシーベースの IPsec は経路に現れないため、ここからは判断できません。";
    /// A local network has the addresses of the inside, and it wins.
    SameSubnet: "The local network {network} on {link} has addresses of the inside network {prefix}, and it wins: packets to {address} stay here and never enter the tunnel ({tunnel}).",
        "原因: 同一サブネット。手元のネットワーク {network}({link})が社内の {prefix} と重複し、手元側が優先されています。{address} 宛てはトンネル({tunnel})に入りません。";
    /// The same, and the tunnel wins.
    SameSubnetShadowed: "The local network {network} on {link} has addresses of the inside network {prefix}, and the tunnel ({tunnel}) wins: inside hosts are reached, printers and other devices of {network} are not. Best: give the home network other addresses.",
        "手元のネットワーク {network}({link})が社内の {prefix} と重複し、トンネル({tunnel})側が優先されています。社内には届きますが、{network} のプリンターなど手元の機器には届きません。自宅側のネットワークアドレスの変更が最善です。";
    /// The same, and who wins is not known.
    SameSubnetUntold: "The local network {network} on {link} has addresses of the inside network {prefix}; which of them wins cannot be known without the tunnel's name. Best: give the home network other addresses.",
        "手元のネットワーク {network}({link})が社内の {prefix} と重複しています。トンネルの指定がないため、どちらが優先されるかは判断できません。自宅側のネットワークアドレスの変更が最善です。";
    /// An inside network is not routed into the tunnel.
    InsideRouteMissing: "The inside network {prefix} is not routed into the tunnel ({tunnel}): packets to {address} go {way}. The split-tunnel list lacks it.",
        "原因: 社内 {prefix} 宛ての経路がトンネル({tunnel})を向いていません({address} 宛ては {way})。スプリットトンネルの対象に含まれていません。";
    /// The network is in the class of the tunnel's address, and that route is not there.
    ClassRouteMissing: "The inside network {prefix} is not routed into the tunnel ({tunnel}): packets to {address} go {way}. It is part of {class}, the class-based route that Windows adds by itself unless \"Disable class based route addition\" is on.",
        "原因: 社内 {prefix} 宛ての経路がトンネル({tunnel})を向いていません({address} 宛ては {way})。{class} は Windows が自動で追加するクラスベースのルートですが、見当たりません。";
    /// Only the class of the tunnel's address is routed into it.
    ClassRouteOnly: "The inside network {prefix} is not routed into the tunnel ({tunnel}): packets to {address} go {way}. Only {class}, the class-based route of the tunnel's own address, is, and {prefix} is not part of it.",
        "原因: 社内 {prefix} 宛ての経路がトンネル({tunnel})を向いていません({address} 宛ては {way})。トンネルのアドレスから作られるクラスベースのルート {class} しかなく、{prefix} はその範囲外です。";
    /// Declared split, and the Internet goes into the tunnel.
    DefaultViaTunnel: "The default route goes into the tunnel ({tunnel}), though a split tunnel is declared: Teams and the Microsoft sign-in take the company's way too, and fail if it does not let them out.",
        "原因: スプリットトンネルの宣言に反し、デフォルトルートがトンネル({tunnel})を向いています。Teams や Microsoft のサインインも会社経由となり、そこから外へ出られないと失敗します。";
    /// Declared full, and the Internet goes around the tunnel.
    DefaultNotViaTunnel: "The default route does not go into the tunnel ({tunnel}) but {way}, though a full tunnel is declared: what people send to the Internet is not protected by it.",
        "原因: フルトンネルの宣言に反し、デフォルトルートがトンネル({tunnel})ではなく {way} を向いています。インターネット宛ての通信は VPN で保護されません。";
    /// Declared full, and IPv6 goes around it.
    Ipv6Around: "IPv6 goes around the tunnel ({way}), though a full tunnel is declared; IPv4 goes into it.",
        "フルトンネルの宣言ですが、IPv6 はトンネルを通らず {way} 経由です(IPv4 はトンネル経由)。";
}
