# ruff: noqa: RUF001
"""Phrases by which the step `boilerplate` knows lines of a web page that are not its text, by language."""

from __future__ import annotations

from collections.abc import Mapping

LINKS: Mapping[str, str] = {
    "en": "read more|read more about this|continue reading|learn more|see more|show more|load more|view more|view all|"
    "more|share|share this|share this article|tweet|like|pin it|email this|print|print this page|follow us|subscribe|"
    "subscribe to our newsletter|sign in|sign up|log in|login|log out|register|my account|home|menu|search|contact|"
    "contact us|about|about us|back|back to top|top|next|previous|prev|next page|previous page|skip to content|"
    "skip to main content|skip to navigation|toggle navigation|leave a comment|leave a reply|post a comment|reply|"
    "add to cart|add to wishlist|buy now|advertisement|sponsored|related posts|related articles|you may also like|"
    "accept|accept all|accept all cookies|accept cookies|reject all|manage cookies|cookie settings|got it|close|"
    "loading|click here|download|privacy policy|cookie policy|terms of use|terms of service|terms and conditions|"
    "sitemap",
    "de": "weiterlesen|mehr lesen|mehr erfahren|mehr anzeigen|mehr|alle anzeigen|teilen|drucken|seite drucken|"
    "folgen sie uns|newsletter abonnieren|abonnieren|anmelden|einloggen|abmelden|registrieren|mein konto|startseite|"
    "menü|suche|suchen|kontakt|über uns|zurück|nach oben|zum seitenanfang|weiter|nächste seite|vorherige seite|"
    "zum inhalt springen|zum hauptinhalt springen|zur navigation springen|kommentar schreiben|antworten|"
    "in den warenkorb|jetzt kaufen|anzeige|werbung|ähnliche beiträge|das könnte sie auch interessieren|akzeptieren|"
    "alle akzeptieren|alle cookies akzeptieren|ablehnen|alle ablehnen|cookie-einstellungen|schließen|impressum|"
    "datenschutz|datenschutzerklärung|agb|herunterladen",
    "fr": "lire la suite|en savoir plus|voir plus|voir tout|partager|imprimer|suivez-nous|s'abonner|se connecter|"
    "connexion|déconnexion|s'inscrire|mon compte|accueil|menu|rechercher|recherche|contact|contactez-nous|à propos|"
    "retour|haut de page|suivant|précédent|page suivante|page précédente|aller au contenu|laisser un commentaire|"
    "répondre|ajouter au panier|publicité|articles similaires|accepter|tout accepter|tout refuser|fermer|"
    "mentions légales|politique de confidentialité|conditions d'utilisation|plan du site|télécharger",
    "es": "leer más|seguir leyendo|más información|ver más|ver todo|compartir|imprimir|síguenos|suscribirse|"
    "iniciar sesión|cerrar sesión|registrarse|mi cuenta|inicio|menú|buscar|contacto|contáctenos|acerca de|"
    "sobre nosotros|volver|volver arriba|siguiente|anterior|saltar al contenido|ir al contenido|dejar un comentario|"
    "responder|añadir al carrito|publicidad|artículos relacionados|aceptar|aceptar todo|rechazar todo|cerrar|"
    "aviso legal|política de privacidad|política de cookies|términos de uso|mapa del sitio|descargar",
    "it": "leggi tutto|continua a leggere|scopri di più|mostra altro|condividi|stampa|seguici|iscriviti|accedi|esci|"
    "registrati|home|cerca|contatti|chi siamo|indietro|torna su|successivo|precedente|vai al contenuto|"
    "lascia un commento|rispondi|aggiungi al carrello|pubblicità|accetta|accetta tutti|rifiuta|chiudi|note legali",
    "pt": "leia mais|continuar lendo|saiba mais|ver mais|ver tudo|compartilhar|partilhar|imprimir|siga-nos|inscreva-se|"
    "entrar|sair|cadastre-se|minha conta|início|buscar|pesquisar|contato|contacto|sobre nós|voltar|voltar ao topo|"
    "próximo|anterior|ir para o conteúdo|deixe um comentário|responder|adicionar ao carrinho|publicidade|aceitar|"
    "aceitar todos|rejeitar|fechar|política de privacidade",
    "nl": "lees meer|lees verder|meer informatie|toon meer|delen|afdrukken|volg ons|abonneren|inloggen|uitloggen|"
    "registreren|mijn account|zoeken|over ons|terug|terug naar boven|volgende|vorige|ga naar de inhoud|"
    "laat een reactie achter|in winkelwagen|advertentie|accepteren|alles accepteren|weigeren|sluiten|privacybeleid",
    "ru": "читать далее|читать дальше|подробнее|показать ещё|показать еще|поделиться|распечатать|подписаться|войти|"
    "вход|выйти|регистрация|главная|меню|поиск|контакты|о нас|назад|наверх|далее|перейти к содержимому|"
    "оставить комментарий|ответить|в корзину|реклама|принять|закрыть|политика конфиденциальности|карта сайта|скачать",
    "zh": "阅读更多|閱讀更多|继续阅读|查看更多|更多|分享|分享到|打印|登录|登錄|注册|註冊|首页|首頁|菜单|搜索|联系我们|"
    "聯繫我們|关于我们|關於我們|返回|返回顶部|下一页|上一页|跳到内容|广告|廣告|接受|关闭|隐私政策|下载",
    "ja": "続きを読む|もっと見る|詳しくはこちら|シェア|ツイート|印刷|ログイン|新規登録|ホーム|メニュー|検索|"
    "お問い合わせ|戻る|ページトップへ|次へ|前へ|コメントを残す|広告|同意する|閉じる|プライバシーポリシー|サイトマップ|ダウンロード",
}
"""Lines that are one of these and nothing else, case and the punctuation around them aside."""

NOTICES: Mapping[str, str] = {
    "en": "uses cookies|use cookies|use of cookies|cookie policy|privacy policy|terms of use|terms of service|"
    "all rights reserved|enable javascript|javascript is disabled|requires javascript|your browser does not support|"
    "subscribe to our newsletter|sign up for our newsletter|click here to|share on facebook|share on twitter",
    "de": "verwendet cookies|verwenden cookies|benutzt cookies|nutzt cookies|einsatz von cookies|"
    "verwendung von cookies|alle rechte vorbehalten|javascript aktivieren|aktivieren sie javascript|"
    "ihr browser unterstützt|newsletter abonnieren|auf facebook teilen",
    "fr": "utilise des cookies|utilisons des cookies|utilisation de cookies|utilisation des cookies|"
    "tous droits réservés|activer javascript|votre navigateur ne supporte|partager sur facebook",
    "es": "utiliza cookies|utilizamos cookies|usamos cookies|uso de cookies|todos los derechos reservados|"
    "habilitar javascript|su navegador no soporta|compartir en facebook",
    "it": "utilizza cookie|utilizza i cookie|utilizziamo i cookie|uso dei cookie|tutti i diritti riservati",
    "pt": "utiliza cookies|usamos cookies|utilizamos cookies|uso de cookies|todos os direitos reservados",
    "nl": "gebruikt cookies|gebruiken cookies|gebruik van cookies|alle rechten voorbehouden",
    "ru": "использует файлы cookie|используем файлы cookie|использует cookie|используем cookie|все права защищены",
    "zh": "使用cookie|使用 cookie|版权所有|版權所有|保留所有权利",
    "ja": "クッキーを使用|cookieを使用|無断転載",
}
"""Lines that have one of these in them, where the line is no longer than a notice."""
